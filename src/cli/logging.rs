//! The log on stderr: lines for people or JSON for programs, each in one write. It begins before the configuration is
//! read, by what the environment says, and goes on by what the configuration says where the environment is silent.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{PoisonError, RwLock};

use env_logger::fmt::Formatter;
use env_logger::{Builder, Logger, Target};
use log::kv::{self, Key, Source, Value, VisitSource, VisitValue};
use log::{LevelFilter, Log, Metadata, Record};
use serde::Serialize;

use crate::config::{Environment, LOG_FORMAT_VARIABLE, LogConfig, LogFormat};

/// Which levels of which targets; as everywhere.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// What stands behind the `log` crate's macros: they take one logger for ever, and this one can be replaced.
struct Current(RwLock<Option<Logger>>);

static CURRENT: Current = Current(RwLock::new(None));

impl Log for Current {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let logger = self.0.read().unwrap_or_else(PoisonError::into_inner);
        logger.as_ref().is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            logger.log(record);
        }
    }

    fn flush(&self) {}
}

/// Begins the log by the environment alone. Without `RUST_LOG`, whatever is worth an operator's attention.
///
/// # Errors
/// When the environment asks for a format that there is not.
pub(super) fn start(environment: Environment<'_>) -> Result<(), String> {
    if let Some(raw) = given(environment, LOG_FORMAT_VARIABLE) {
        raw.parse::<LogFormat>().map_err(|error| format!("{LOG_FORMAT_VARIABLE} {error}"))?;
    }
    // Refused where a test has run a command before in this process.
    drop(log::set_logger(&CURRENT));
    configure(&LogConfig { format: LogFormat::Text, level: LevelFilter::Info }, environment);
    Ok(())
}

/// Goes on by what the configuration says, and what the environment says before it.
pub(super) fn configure(config: &LogConfig, environment: Environment<'_>) {
    let format = given(environment, LOG_FORMAT_VARIABLE).and_then(|raw| raw.parse().ok());
    let mut builder = Builder::new();
    match given(environment, FILTER_VARIABLE) {
        Some(filters) => builder.parse_filters(&filters),
        None => builder.filter_level(config.level),
    };
    match format.unwrap_or(config.format) {
        LogFormat::Text => builder.format_key_values(write_fields),
        LogFormat::Json => builder.format(write_json),
    };
    let logger = builder.target(Target::Stderr).build();
    log::set_max_level(logger.filter());
    *CURRENT.0.write().unwrap_or_else(PoisonError::into_inner) = Some(logger);
}

fn given(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

/// What the message of the access log says already.
const IN_THE_MESSAGE: [&str; 4] = ["method", "path", "status", "duration_ms"];

/// ` key=value` for each, quoted where it would not read as one word: some of it comes from elsewhere.
fn write_fields(formatter: &mut Formatter, source: &dyn Source) -> io::Result<()> {
    for (key, value) in fields(source) {
        if IN_THE_MESSAGE.contains(&key.as_str()) {
            continue;
        }
        let text = match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
        if !text.is_empty() && text.chars().all(plain) {
            write!(formatter, " {key}={text}")?;
        } else {
            write!(formatter, " {key}={text:?}")?;
        }
    }
    Ok(())
}

/// One line of the log.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    target: &'a str,
    message: String,
    #[serde(flatten)]
    fields: BTreeMap<String, serde_json::Value>,
}

/// The names that every line has; a field of that name is called `field_…`.
const NAMES: [&str; 4] = ["time", "level", "target", "message"];

fn write_json(formatter: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let rename = |(key, value): (String, serde_json::Value)| {
        if NAMES.contains(&key.as_str()) { (format!("field_{key}"), value) } else { (key, value) }
    };
    let line = Line {
        time: formatter.timestamp_millis().to_string(),
        level: record.level().as_str(),
        target: record.target(),
        message: record.args().to_string(),
        fields: fields(record.key_values()).into_iter().map(rename).collect(),
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    formatter.write_all(&text)
}

/// A record's key-values; of several by one name the last.
fn fields(source: &dyn Source) -> BTreeMap<String, serde_json::Value> {
    let mut fields = Fields(BTreeMap::new());
    // What a value cannot say of itself is left out, rather than the line.
    drop(source.visit(&mut fields));
    fields.0
}

struct Fields(BTreeMap<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut json = Json(serde_json::Value::Null);
        value.visit(&mut json)?;
        self.0.insert(key.as_str().to_owned(), json.0);
        Ok(())
    }
}

struct Json(serde_json::Value);

impl<'v> VisitValue<'v> for Json {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        // JSON has no word for what is no number.
        self.0 = serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Into::into);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::{Level, Record};

    use super::{fields, write_fields, write_json};

    /// What a logger of this format writes of a record.
    fn written(json: bool, message: &str, pairs: &[(&str, log::kv::Value<'_>)]) -> String {
        let piped = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        struct Pipe(std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>);
        impl std::io::Write for Pipe {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut builder = env_logger::Builder::new();
        builder.filter_level(log::LevelFilter::Trace);
        let pipe = Pipe(std::sync::Arc::clone(&piped));
        builder.target(env_logger::Target::Pipe(Box::new(pipe)));
        if json {
            builder.format(write_json)
        } else {
            builder.format_key_values(write_fields)
        };
        let logger = builder.build();
        log::Log::log(
            &logger,
            &Record::builder()
                .args(format_args!("{message}"))
                .level(Level::Warn)
                .target("patroni_broker::x")
                .key_values(&pairs)
                .build(),
        );
        let writes = piped.lock().unwrap();
        assert_eq!(writes.len(), 1, "one write a line");
        String::from_utf8(writes[0].clone()).unwrap()
    }

    #[test]
    fn a_line_of_json_is_one_object_whatever_is_in_it() {
        let check = |message: &str, pairs: &[(&str, log::kv::Value<'_>)], fields: serde_json::Value| {
            let line = written(true, message, pairs);
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.ends_with("}\n"), "{line:?}");
            let mut read: serde_json::Value = serde_json::from_str(&line).unwrap();
            let read = read.as_object_mut().unwrap();
            let time = read.remove("time").unwrap();
            let time = time.as_str().unwrap();
            assert_eq!(
                (time.len(), &time[10..11], &time[19..20], &time[23..]),
                (24, "T", ".", "Z"),
                "{time}"
            );
            assert_eq!(read.remove("level").unwrap(), "WARN");
            assert_eq!(read.remove("target").unwrap(), "patroni_broker::x");
            assert_eq!(read.remove("message").unwrap(), message);
            assert_eq!(serde_json::Value::Object(read.clone()), fields);
        };
        check("plain", &[], serde_json::json!({}));
        check("two\nlines\r\n\u{0}\u{1b}[31m \"q\" \\ ü \u{2028} 🦀", &[], serde_json::json!({}));
        check(
            "fields",
            &[
                ("request_id", "a\"b\n".into()),
                ("status", 202_u16.into()),
                ("less", (-3_i64).into()),
                ("ratio", 0.5_f64.into()),
                ("no_number", f64::NAN.into()),
                ("yes", true.into()),
            ],
            serde_json::json!({
                "request_id": "a\"b\n", "status": 202, "less": -3, "ratio": 0.5, "no_number": "NaN", "yes": true,
            }),
        );
        // Two keys of one name are no good JSON.
        check(
            "twice",
            &[("message", "other".into()), ("a", 1.into()), ("a", 2.into())],
            serde_json::json!({"field_message": "other", "a": 2}),
        );
    }

    #[test]
    fn a_line_of_text_ends_with_its_fields() {
        let check = |pairs: &[(&str, log::kv::Value<'_>)], expected: &str| {
            let line = written(false, "said", pairs);
            let (head, rest) = line.split_once("] ").unwrap();
            assert!(head.starts_with('[') && head.ends_with(" WARN  patroni_broker::x"), "{line:?}");
            assert_eq!(rest, expected);
        };
        check(&[], "said\n");
        check(&[("request_id", "r-1".into()), ("n", 202.into())], "said n=202 request_id=r-1\n");
        // What the access log's message says already.
        check(&[("user", "u".into()), ("status", 202.into())], "said user=u\n");
        check(&[("a", "two words".into()), ("b", "x\ny".into())], "said a=\"two words\" b=\"x\\ny\"\n");
        check(&[("a", "".into()), ("b", "k=v".into())], "said a=\"\" b=\"k=v\"\n");
    }

    #[test]
    fn a_value_shows_as_it_displays() {
        let address = std::net::Ipv4Addr::LOCALHOST;
        let pairs = [("address", log::kv::Value::from_display(&address))];
        assert_eq!(fields(&pairs.as_slice())["address"], "127.0.0.1");
    }
}
