//! From a tree to one of Kubernetes' own types.
//!
//! Where a field has the wrong type it is taken out and reading goes on, so that one pass finds
//! all such fields. The object itself is then not used.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

/// Fields of the wrong type in one object before reading gives up.
const FAULTS_MAX: usize = 100;

/// What reading came to.
pub(super) struct Typed<T> {
    /// The object; `None` where some field has the wrong type.
    pub(super) object: Option<T>,
    /// Fields that the type does not have.
    pub(super) unknown: Vec<String>,
    /// Fields of the wrong type, and what is wrong.
    pub(super) faults: Vec<(String, String)>,
}

pub(super) fn read<T: DeserializeOwned>(mut value: Value) -> Typed<T> {
    let mut faults: Vec<(String, String)> = Vec::new();
    loop {
        let mut unknown = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| unknown.push(field(&path));
        let ignoring = serde_ignored::Deserializer::new(&value, &mut note);
        let error = match serde_path_to_error::deserialize::<_, T>(ignoring) {
            Ok(object) => {
                let object = faults.is_empty().then_some(object);
                return Typed { object, unknown, faults };
            }
            Err(error) => error,
        };
        let path = error.path().to_string();
        let again = faults.iter().any(|(known, _)| *known == path);
        let segments: Vec<Segment> = error.path().iter().cloned().collect();
        if !again {
            faults.push((path, problem(&error.into_inner())));
        }
        if again || faults.len() >= FAULTS_MAX || !blank(&mut value, &segments) {
            return Typed { object: None, unknown, faults };
        }
    }
}

fn problem(error: &serde_json::Error) -> String {
    let problem = error.to_string();
    let advice = if problem.ends_with("expected a string") { "; put it in quotes" } else { "" };
    problem + advice
}

/// Takes what stands at a path out of the way. Whether that could be done.
fn blank(value: &mut Value, path: &[Segment]) -> bool {
    let Some((last, way)) = path.split_last() else { return false };
    let mut place = Some(value);
    for segment in way {
        place = match segment {
            Segment::Seq { index } => place.and_then(|list| list.get_mut(*index)),
            Segment::Map { key } => place.and_then(|map| map.get_mut(key)),
            _ => None,
        };
    }
    match (last, place) {
        (Segment::Map { key }, Some(Value::Object(map))) => map.remove(key).is_some(),
        (Segment::Seq { index }, Some(Value::Array(list))) => {
            // The others keep their places, so something must stand here: most lists hold maps.
            let Some(item) = list.get_mut(*index) else { return false };
            *item = if item.is_object() { "".into() } else { Value::Object(Map::new()) };
            true
        }
        _ => false,
    }
}

/// A path as faults write it: `spec.ingress[0].from`.
fn field(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field(parent)),
        Path::Map { parent, key } => match field(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => field(parent),
    }
}
