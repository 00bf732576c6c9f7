//! `[log]`: what the log looks like. The environment goes before it (`RUST_LOG`, [`super::LOG_FORMAT_VARIABLE`]), so that
//! one start can say more without a change of the file.

use std::str::FromStr;

use ::log::LevelFilter;

use super::reader::Section;

/// What the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line is written. Defaults to text.
    pub format: LogFormat,
    /// What is worth a line. Defaults to `info`.
    pub level: LevelFilter,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(raw: &str) -> Result<Self, &'static str> {
        match raw {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be \"text\" or \"json\""),
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> Option<LogConfig> {
    let format = section.optional("format", "text", LogFormat::from_str);
    let level = section.optional("level", "info", level);
    section.end();
    Some(LogConfig { format: format?, level: level? })
}

/// There is no trace: whole requests would be in it, and it is compiled out.
fn level(raw: &str) -> Result<LevelFilter, &'static str> {
    let level = match raw {
        "error" => LevelFilter::Error,
        "warn" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        _ => return Err("must be \"error\", \"warn\", \"info\" or \"debug\""),
    };
    Ok(level)
}

#[cfg(test)]
mod tests {
    use ::log::LevelFilter;
    use toml::Table;

    use super::super::problem::Findings;
    use super::super::reader::Section;
    use super::{LogConfig, LogFormat, read};

    #[test]
    fn a_log_is_text_at_info_unless_it_is_said() {
        let check = |text: &str, expected: Result<LogConfig, &str>| {
            let (table, findings) = (text.parse::<Table>().unwrap(), Findings::default());
            let found = read(&Section::root(&table, &findings).section("log"));
            let (problems, _) = findings.into_parts();
            let first = problems.first().map(ToString::to_string);
            match expected {
                Ok(config) => assert_eq!((found, first), (Some(config), None), "{text}"),
                Err(problem) => {
                    assert!(
                        first.as_ref().is_some_and(|first| first.starts_with(problem)),
                        "{text}: {first:?}"
                    );
                }
            }
        };
        let config = |format, level| Ok(LogConfig { format, level });
        check("", config(LogFormat::Text, LevelFilter::Info));
        check("log = { format = \"json\" }", config(LogFormat::Json, LevelFilter::Info));
        check("log = { format = \"text\", level = \"debug\" }", config(LogFormat::Text, LevelFilter::Debug));
        check("log = { format = \"xml\" }", Err("log.format: must be \"text\" or \"json\""));
        check("log = { level = \"trace\" }", Err("log.level: must be \"error\""));
        check("log = { colour = true }", Err("log.colour: is not a field here"));
    }
}
