//! watch.

use libtest_mimic::Failed;

use crate::site::{Engine, Running, Site};

pub fn across_a_restart(engine: Engine) -> Result<(), Failed> {
    let mut site = Site::start(engine)?;
    site.says("put /w/before 1", 0)?;
    site.says("put /w/tree/a 1", 0)?;
    site.says("put /w/tree/b 1", 0)?;
    let watch = Running::start(site.kv().args(["watch", "/w"]))?;
    let json = Running::start(site.kv().args(["watch", "/w", "--output", "json"]))?;
    watch.wait_for("watching /w from revision ")?;
    json.wait_for("watching /w from revision ")?;
    site.says("put /w/a hush", 0)?;
    site.says("put /wide 1", 0)?;
    watch.wait_for("put   /w/a\n")?;
    json.wait_for("{\"key\":\"/w/a\",\"revision\":")?;
    site.says("rm /w/before", 0)?;
    watch.wait_for("gone  /w/before\n")?;
    json.wait_for("{\"key\":\"/w/before\",\"revision\":null,\"state\":\"gone\"}")?;

    site.stop()?;
    watch.wait_for("waiting for it")?;
    site.restart()?;
    watch.wait_for("the store answers again")?;
    site.says("put /w/after hush", 0)?;
    watch.wait_for("put   /w/after\n")?;
    json.wait_for("{\"key\":\"/w/after\"")?;
    site.says("rm /w/tree --recursive", 0)?;
    watch.wait_for("gone  /w/tree/a\n")?;
    watch.wait_for("gone  /w/tree/b\n")?;
    let said = watch.said();
    assert_eq!(said.matches("put   /w/a\n").count(), 1, "{said}");
    assert!(!said.contains("/wide") && !said.contains("hush"), "{said}");
    assert_eq!(watch.end("-TERM")?, 0);
    assert_eq!(json.end("-INT")?, 0);

    // It ends by itself, and with its reader.
    assert_eq!(site.says("watch / --for 1", 0)?, "");
    Ok(())
}
