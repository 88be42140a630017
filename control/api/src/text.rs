//! Text from elsewhere, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::SystemTime;

/// The text with every control character escaped, so that it cannot steer a terminal or forge a
/// line of a log. Letters of all scripts stay as they are.
///
/// ```
/// assert_eq!(sluice_api::text::printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_unsafe(letter) {
            // Writing to a string cannot fail.
            let _ = write!(safe, "{}", letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    Cow::Owned(safe)
}

/// A moment as RFC 3339 writes it, in UTC.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_250);
/// assert_eq!(sluice_api::text::rfc3339(moment), "2023-11-14T22:13:20.000250Z");
/// ```
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    prost_types::Timestamp::from(moment).to_string()
}

/// An error with its causes on one line; the last one says what happened.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        // Some errors repeat their cause.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    printable(&text).into_owned()
}

/// Control characters, and those that turn the direction of writing or break lines unseen.
fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_the_rest_is_not() {
        assert_eq!(printable("NetworkPolicy shop/Käse 日本"), "NetworkPolicy shop/Käse 日本");
        for text in ["\u{1b}[31m", "a\rb", "a\nb", "\u{9b}2J", "\u{202e}cod", "\0", "\u{7f}"] {
            let safe = printable(text).into_owned();
            assert!(!safe.chars().any(is_unsafe), "{text:?} -> {safe:?}");
        }
    }
}
