//! A configuration as text with a comment above every key. The comments are the descriptions of the JSON schema, which
//! are the doc comments of `TrainConfig`.

use mdet_train::TrainConfig;
use serde_json::Value;

/// Columns of a comment.
const WIDTH: usize = 110;

/// The TOML text of a configuration, every key explained; keys that it leaves open stand in comments.
pub(crate) fn template(config: &TrainConfig) -> String {
    let schema = TrainConfig::schema();
    let text = toml::to_string(config).expect("a configuration is plain data");
    let mut page = String::from(
        "# A training run: mdet train FILE.toml. Keys in comments are left open.\n\
         # `mdet config check FILE.toml` checks a file, `mdet config schema` prints the schema.\n",
    );
    let mut section: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if section.is_empty() {
                page += &left_open(&schema, &text);
            }
            section = name.split('.').collect();
            // Of a choice with settings of its own: what is chosen from.
            explain(&mut page, &schema, &section[..1]);
        } else if let Some((key, _)) = line.split_once(" = ") {
            explain(&mut page, &schema, &[&section[..], &[key]].concat());
        }
        page += line;
        page.push('\n');
    }
    page
}

/// Optional keys of the first level that the text does not set.
fn left_open(schema: &Value, text: &str) -> String {
    let mut page = String::new();
    for key in schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys()) {
        let is_set = |line: &str| {
            let name = line.trim_start_matches('[');
            name.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with([' ', ']', '.']))
        };
        if !text.lines().any(is_set) {
            explain(&mut page, schema, &[key]);
            page += &format!("# {key} = …\n");
        }
    }
    page
}

/// Adds what the schema says of a key.
fn explain(page: &mut String, schema: &Value, path: &[&str]) {
    let Some(property) = path.iter().try_fold(schema, |value, key| child(schema, value, key)) else { return };
    page.push('\n');
    let described = [property, resolved(schema, property)];
    let text = described.into_iter().find_map(|value| value["description"].as_str()).unwrap_or_default();
    wrap(page, "# ", &text.replace('\n', " "));
    for (value, meaning) in choices(schema, property) {
        wrap(page, "#   ", &format!("{value}: {}", meaning.replace('\n', " ")));
    }
}

/// The part of a schema that describes `key` of what `value` describes.
fn child<'a>(schema: &'a Value, value: &'a Value, key: &str) -> Option<&'a Value> {
    let mut alternatives = alternatives(schema, value);
    alternatives.find_map(|value| value["properties"].get(key))
}

/// What a value may be: itself, and the members of anyOf and oneOf.
fn alternatives<'a>(schema: &'a Value, value: &'a Value) -> impl Iterator<Item = &'a Value> {
    let value = resolved(schema, value);
    let members = ["anyOf", "oneOf"].into_iter().filter_map(|kind| value[kind].as_array()).flatten();
    let members = members.flat_map(move |member| {
        let member = resolved(schema, member);
        std::iter::once(member).chain(member["oneOf"].as_array().into_iter().flatten())
    });
    std::iter::once(value).chain(members)
}

/// The names that a value may have, each with its description.
fn choices<'a>(schema: &'a Value, value: &'a Value) -> impl Iterator<Item = (String, &'a str)> {
    alternatives(schema, value).filter_map(|choice| {
        let name = match (&choice["const"], choice["properties"].as_object()) {
            (Value::String(name), _) => format!("\"{name}\""),
            // A choice with settings of its own is a table of one key.
            (_, Some(table)) if table.len() == 1 && choice["required"].is_array() => {
                format!("a table `{}`", table.keys().next()?)
            }
            _ => return None,
        };
        Some((name, choice["description"].as_str().unwrap_or_default()))
    })
}

fn resolved<'a>(schema: &'a Value, value: &'a Value) -> &'a Value {
    let name = value["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
    name.map_or(value, |name| &schema["$defs"][name])
}

/// Adds `text` in lines of at most `WIDTH` columns, each with `prefix`.
fn wrap(page: &mut String, prefix: &str, text: &str) {
    let mut line = String::from(prefix);
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() >= WIDTH && line.len() > prefix.len() {
            page.push_str(line.trim_end());
            page.push('\n');
            line = String::from(prefix);
        }
        line += word;
        line.push(' ');
    }
    page.push_str(line.trim_end());
    page.push('\n');
}
