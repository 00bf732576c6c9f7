//! Every input of the fuzzer's corpora as a case of its own: what was found once stays found, and needs no fuzzer.

#[path = "../fuzz/cases/mod.rs"]
mod cases;

use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};

type Case = fn(&[u8]);

fn main() {
    let corpora: [(&str, Case); 4] = [
        ("api", cases::api),
        ("door", cases::door),
        ("store", cases::store),
        ("configuration", cases::configuration),
    ];
    let mut trials = Vec::new();
    for (name, case) in corpora {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let entries = fs::read_dir(&directory).expect("the corpora are committed");
        for file in entries.map(|entry| entry.expect("a readable directory").path()) {
            let title = format!("{name}::{}", file.file_name().unwrap_or_default().to_string_lossy());
            trials.push(Trial::test(title, move || {
                case(&fs::read(&file)?);
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
