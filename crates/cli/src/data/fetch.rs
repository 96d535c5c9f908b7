//! `mdet data fetch`: public data sets, downloaded, resumed and verified.

use super::download::{Expected, Source, download, verify};
use super::registry::{self, RemoteFile, Set};
use crate::{AnyError, Done, interrupt};
use base64::Engine;
use clap::Args;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Fetch a public data set: MD17, revised MD17, MD17 at CCSD(T), MD22, SPICE, xxMD, QM7-X, QCML.
///
/// Without a name, lists the sets with licence and citation. Files go to FOLDER/NAME; what is there is verified and kept, and
/// an interrupted download goes on where it ended. Without a network, says what to download and where to put it; files
/// put there by hand are verified all the same.
///
/// Example: mdet data fetch md17 --only ethanol
#[derive(Args)]
pub(crate) struct FetchArgs {
    /// Which set.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Files whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Folder for all sets [default: $MDET_DATA, else mdet/data in the user's cache].
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Say what would be downloaded and where to.
    #[arg(long)]
    dry_run: bool,
    /// Take the files from another server, which has them under the same paths.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Without an answer for so long, a server is not reached.
const CONNECT: Duration = Duration::from_secs(20);

pub(crate) fn run(args: &FetchArgs) -> Result<Done, AnyError> {
    let Some(name) = &args.name else {
        registry::sets().iter().for_each(describe);
        return Ok(Done::Completed);
    };
    let set = registry::named(name)?;
    let folder = match &args.to {
        Some(folder) => folder.clone(),
        None => cache()?,
    };
    let folder = folder.join(&set.name);
    describe(&set);
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(CONNECT * 3))
        .http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let mut files = match &set.bucket {
        None => set.files.clone(),
        Some(_) if args.dry_run => Vec::new(),
        Some(bucket) => {
            listed(&agent, &set, bucket, args).map_err(|error| by_hand_bucket(&set, &folder, &error))?
        }
    };
    if args.dry_run && set.bucket.is_some() {
        println!("to download   {}", bucket_command(&set, &folder));
        return Ok(Done::Completed);
    }
    files.retain(|file| args.only.as_ref().is_none_or(|only| file.name.contains(only)));
    if files.is_empty() {
        return Err(
            format!("{name}: no file has {:?} in its name", args.only.clone().unwrap_or_default()).into()
        );
    }
    if args.dry_run {
        for file in &files {
            println!("to download   {} to {}: {file}", set.url(file), folder.join(&file.name).display());
        }
        return Ok(Done::Completed);
    }
    let stop = interrupt::flag()?;
    for file in &files {
        let path = folder.join(&file.name);
        let expected = Expected { bytes: file.bytes, md5: file.md5.clone() };
        if path.is_file() {
            println!("there already {}: {}", path.display(), verify(&path, &path, &expected)?);
            continue;
        }
        let url = mirrored(&set.url(file), args.mirror.as_deref());
        let source = Source { agent: &agent, url: &url, stop: &stop };
        match download(&source, &path, &expected) {
            Ok(Some(verified)) => println!("downloaded    {}: {verified}", path.display()),
            Ok(None) => {
                println!("interrupted; the same command goes on");
                return Ok(Done::Interrupted);
            }
            Err(error) => return Err(by_hand(&set, file, &path, &error)),
        }
    }
    for then in next_steps(&set, &files, &folder) {
        println!("next          {then}");
    }
    Ok(Done::Completed)
}

/// What is to be done with the files: once, or for each where it names FILE.
fn next_steps(set: &Set, files: &[RemoteFile], folder: &Path) -> Vec<String> {
    let Some(then) = &set.then else { return Vec::new() };
    let in_folder = |text: &str| text.replace("FOLDER", &folder.display().to_string());
    match then.contains("FILE") {
        true => files
            .iter()
            .map(|file| in_folder(&then.replace("FILE", &format!("FOLDER/{}", file.name))))
            .collect(),
        false => vec![in_folder(then)],
    }
}

fn describe(set: &Set) {
    println!("{:<13} {}", set.name, set.title);
    println!("  licence     {}", set.licence);
    println!("  citation    {}", set.citation);
    println!("  from        {}", set.base);
}

/// The folder for all sets where the user names none.
fn cache() -> Result<PathBuf, AnyError> {
    let of = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    let folder = of("MDET_DATA").or_else(|| cache.map(|cache| cache.join("mdet/data")));
    folder.ok_or_else(|| "expected a folder for data: give --to FOLDER".into())
}

/// A URL with its server replaced.
fn mirrored(url: &str, mirror: Option<&str>) -> String {
    let Some(mirror) = mirror else { return url.to_owned() };
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    format!("{}/{path}", mirror.trim_end_matches('/'))
}

fn by_hand(set: &Set, file: &RemoteFile, path: &Path, error: &AnyError) -> AnyError {
    format!(
        "{error}; where there is a network, download {} ({file}), put it at {} and run the same command to verify it",
        set.url(file),
        path.display()
    )
    .into()
}

fn bucket_command(set: &Set, folder: &Path) -> String {
    let bucket = set.bucket.as_deref().unwrap_or_default();
    let copy = |prefix: &String| {
        let prefix = prefix.trim_end_matches('/');
        let to = folder.join(prefix);
        let to = to.parent().unwrap_or(folder);
        format!("gcloud storage cp -r gs://{bucket}/{prefix} {}/", to.display())
    };
    set.prefixes.iter().map(copy).collect::<Vec<_>>().join(" && ")
}

fn by_hand_bucket(set: &Set, folder: &Path, error: &AnyError) -> AnyError {
    format!("{error}; where there is a network: {}", bucket_command(set, folder)).into()
}

/// The files in a bucket's folders, by the JSON interface of Google Cloud Storage.
fn listed(
    agent: &ureq::Agent,
    set: &Set,
    bucket: &str,
    args: &FetchArgs,
) -> Result<Vec<RemoteFile>, AnyError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        #[serde(default)]
        items: Vec<Item>,
        next_page_token: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        name: String,
        size: String,
        md5_hash: Option<String>,
    }
    let mut files = Vec::new();
    for prefix in &set.prefixes {
        let mut token = None;
        loop {
            let url = mirrored(&format!("{}/storage/v1/b/{bucket}/o", set.base), args.mirror.as_deref());
            let mut request = agent.get(&url).query("prefix", prefix);
            if let Some(token) = &token {
                request = request.query("pageToken", token);
            }
            let unreached = |error: String| format!("{url}: {error}");
            let mut response = request.call().map_err(|error| unreached(error.to_string()))?;
            if response.status() != 200 {
                return Err(unreached(format!(
                    "expected a list of files, found status {}",
                    response.status()
                ))
                .into());
            }
            let text = response.body_mut().read_to_string().map_err(|error| unreached(error.to_string()))?;
            let page: Page = serde_json::from_str(&text).map_err(|error| unreached(error.to_string()))?;
            for item in page.items {
                let md5 =
                    item.md5_hash.and_then(|md5| base64::engine::general_purpose::STANDARD.decode(md5).ok());
                let is_safe = Path::new(&item.name)
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                if !is_safe {
                    return Err(unreached(format!("expected names of files, found {:?}", item.name)).into());
                }
                files.push(RemoteFile {
                    path: Some(format!("{bucket}/{}", item.name)),
                    bytes: item.size.parse().ok(),
                    about: None,
                    md5: md5.map(|md5| crate::judgement::hex(&md5)),
                    name: item.name,
                });
            }
            token = page.next_page_token;
            if token.is_none() {
                break;
            }
        }
    }
    Ok(files)
}
