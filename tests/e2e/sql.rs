//! What an application does with its URI.

use libtest_mimic::Failed;

use crate::shell::bash;

/// Runs SQL through a URI and gives its rows, unaligned.
pub fn sql(uri: &str, text: &str) -> Result<String, Failed> {
    let script =
        r#"timeout 20 psql "$URI" --no-psqlrc --quiet --tuples-only --no-align -v ON_ERROR_STOP=1 -c "$SQL""#;
    let answer = bash(script, &[("URI", uri), ("SQL", text), ("PGCONNECT_TIMEOUT", "5")])?;
    Ok(answer.trim().to_owned())
}
