for (const box of document.querySelectorAll(".view")) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  let viewer;
  try {
    viewer = $3Dmol.createViewer(box, { backgroundColor: dark ? "#15181b" : "#fdfdfc" });
  } catch { /* told below */ }
  if (!viewer) {
    box.textContent = "The 3-D view needs WebGL, which this browser does not offer.";
    continue;
  }
  viewer.addModelsAsFrames(document.getElementById(box.dataset.xyz).textContent.trim() + "\n", "xyz");
  viewer.setStyle({}, { stick: { radius: 0.13 }, sphere: { scale: 0.25 } });
  viewer.zoomTo();
  viewer.render();
  if (viewer.getNumFrames() > 1) viewer.animate({ loop: "forward", interval: 120 });
}
