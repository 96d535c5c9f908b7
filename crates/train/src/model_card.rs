//! A model's card as a page for people: `MODEL_CARD.md` of a run folder.

use mdet_model::Model;
use std::fmt::Write;

/// The page of a model.
pub(crate) fn markdown(model: &Model) -> String {
    let (config, card) = (&model.config, &model.card);
    let mut page = format!(
        "# {}\n\nMD-ET, {} layers of width {} with {} heads: atomic forces of molecules, raw (no energy, no built-in \
         symmetry).\n\n- **Trained on:** {}\n- **How:** {}\n- **Units:** weights in Bohr and Hartree/Bohr; mdet gives \
         eV/Å.\n",
        card.name, config.n_layers, config.width, config.n_heads, card.trained_on, card.provenance
    );
    if let Some(domain) = &card.domain {
        let _ = writeln!(page, "- **Domain:** {domain}. Nothing is known of anything else.");
    }
    if card.validation.is_empty() {
        page += "\nIts errors have not been measured.\n";
    } else {
        page +=
            "\n| measured on | structures | component MAE, meV/Å | per atom, meV/Å |\n|---|---|---|---|\n";
    }
    for error in &card.validation {
        let _ = writeln!(
            page,
            "| {} | {} | {:.1} | {:.1} |",
            error.on,
            error.n_structures,
            error.component_mae_mev_per_angstrom,
            error.euclidean_mev_per_angstrom
        );
    }
    page
}
