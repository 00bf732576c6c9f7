//! `kv import`: a document into the store. Everything is checked before anything is written, and every write says what
//! it expects. Cut off in the middle, it is done again: what is there already counts as done.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use argh::FromArgs;
use serde_json::json;
use storage::{Expect, Store, StoreError};

use super::document::Document;
use super::target::{Plan, Shape, Welcome, Write, plan};
use super::{PAUSE, STDIN, TRIES, connected, failed};
use crate::cli::Failure;
use crate::cli::output::{Output, print, print_json};

/// Write the entries of an exported document, while no broker runs on the store. The target must be empty under the
/// document's prefix, but for what the document holds alike.
#[derive(FromArgs)]
#[argh(subcommand, name = "import")]
pub(super) struct Arguments {
    /// the document, or - for stdin
    #[argh(positional)]
    file: PathBuf,
    /// leave other keys in the target as they are; other values of the same keys are refused
    #[argh(switch)]
    into_non_empty: bool,
    /// as --into-non-empty, and overwrite other values of the same keys
    #[argh(switch)]
    replace: bool,
    /// table or json; defaults to table
    #[argh(option, default = "Output::Table")]
    output: Output,
}

#[derive(Default)]
struct Counts {
    written: usize,
    replaced: usize,
    there: usize,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let file = Some(arguments.file.as_path()).filter(|file| *file != Path::new(STDIN));
    let name = file.map_or_else(|| "stdin".to_owned(), |file| file.display().to_string());
    let text = read(file).map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
    let document = Document::parse(&text).map_err(|problems| refused(&name, &problems))?;
    let welcome = match (arguments.into_non_empty, arguments.replace) {
        (_, true) => Welcome::OtherValues,
        (true, false) => Welcome::OtherKeys,
        (false, false) => Welcome::Nothing,
    };
    let (store, storage) = connected(config)?;
    let present = store.list(&document.prefix).map_err(|error| failed(&error))?.entries;
    let plan = plan(&document, &present, welcome, Shape::of(&storage))
        .map_err(|problems| refused(&name, &problems))?;
    let counts = write(store.as_ref(), &plan)?;
    let Counts { written, replaced, there } = counts;
    match arguments.output {
        Output::Table => print(&format!("{written} written, {replaced} replaced, {there} there already\n")),
        Output::Json => print_json(&json!({"written": written, "replaced": replaced, "there": there})),
    }
}

fn read(file: Option<&Path>) -> std::io::Result<Vec<u8>> {
    if let Some(file) = file {
        return std::fs::read(file);
    }
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

fn refused(name: &str, problems: &[String]) -> Failure {
    let s = if problems.len() == 1 { "" } else { "s" };
    let list: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    Failure::Failed(format!("{name}: nothing is written: {} problem{s}{list}", problems.len()))
}

fn write(store: &dyn Store, plan: &Plan<'_>) -> Result<Counts, Failure> {
    let mut counts = Counts { there: plan.there, ..Counts::default() };
    for (done, entry) in plan.writes.iter().enumerate() {
        let written = write_one(store, entry).map_err(|reason| {
            let all = plan.writes.len();
            Failure::Failed(format!(
                "{reason}\n{done} of {all} entries are written; import again for the rest"
            ))
        })?;
        match (written, entry.expect) {
            (false, _) => counts.there += 1,
            (true, Expect::Absent) => counts.written += 1,
            (true, _) => counts.replaced += 1,
        }
    }
    Ok(counts)
}

/// Tells whether it was written; not so when somebody else wrote the same meanwhile.
fn write_one(store: &dyn Store, entry: &Write<'_>) -> Result<bool, String> {
    let Write { key, value, expect } = *entry;
    let mut lost = false;
    for round in 0..TRIES {
        if round > 0 {
            thread::sleep(PAUSE);
        }
        if lost {
            match store.get(key) {
                Ok(Some(found)) if found.value == value => return Ok(true),
                Ok(_) => {}
                Err(error) => {
                    log::warn!("{key} cannot be read back: {error}");
                    continue;
                }
            }
        }
        match store.put(key, value, None, expect) {
            Ok(_) => return Ok(true),
            Err(StoreError::OutcomeUnknown { .. }) => {
                log::warn!("no answer came for the write of {key}; reading back");
                lost = true;
            }
            Err(StoreError::Conflict) => {
                let found = store.get(key).map_err(|error| error.to_string())?;
                return match found {
                    Some(found) if found.value == value => Ok(lost),
                    _ => Err(format!("{key}: somebody else changed it meanwhile")),
                };
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("no answer came for the write of {key}, and it may have landed"))
}

#[cfg(test)]
mod tests {
    use storage::{Expect, Key};

    use super::{Write, write_one};
    use crate::cli::kv::shaky::{Shaky, Trouble};

    #[test]
    fn one_entry_in_troubles() {
        let check = |there: &str, troubles: &[Trouble], expected: Result<bool, &str>| {
            let store = Shaky::holding(there, troubles);
            let key = Key::parse("/a").unwrap();
            let written = write_one(&store, &Write { key: &key, value: b"new", expect: Expect::Absent });
            match (written, expected) {
                (Ok(written), Ok(expected)) => {
                    assert_eq!((written, store.shown().as_str()), (expected, "/a=new"), "{troubles:?}");
                }
                (Err(said), Err(piece)) => assert!(said.contains(piece), "{troubles:?}: {said}"),
                (written, _) => panic!("{troubles:?}: {written:?}"),
            }
        };
        check("", &[], Ok(true));
        check("", &[Trouble::AnswerLost], Ok(true));
        check("", &[Trouble::RequestLost], Ok(true));
        check("", &[Trouble::AnswerLost, Trouble::Outage], Ok(true));
        // Somebody else was faster, with the same and with something else.
        check("/a=new", &[], Ok(false));
        check("/a=other", &[], Err("/a: somebody else changed it meanwhile"));
        check("", &[Trouble::Outage], Err("is unavailable"));
        let silence = [vec![Trouble::RequestLost], vec![Trouble::Outage; 9]].concat();
        check("", &silence, Err("it may have landed"));
    }
}
