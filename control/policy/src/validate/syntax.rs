//! The syntax of names and labels, as the Kubernetes API server checks it.
//!
//! Each function gives `None` where the text is right, or else what is wrong with it and what
//! would be right.

/// RFC 1123 label: what namespaces are called.
pub(super) fn dns_label(text: &str) -> Option<String> {
    fault(
        is_dns_label(text),
        text,
        "1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends",
    )
}

/// RFC 1123 subdomain: what pods, nodes and policies are called.
pub(super) fn dns_subdomain(text: &str) -> Option<String> {
    fault(
        is_dns_subdomain(text),
        text,
        "at most 253 of a-z, 0-9, '-' and '.', with a letter or digit at both ends of each part",
    )
}

/// A label's key: an optional DNS subdomain and `/`, then a name.
pub(super) fn label_key(text: &str) -> Option<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let right = prefix.is_none_or(is_dns_subdomain) && is_qualified_name(name);
    fault(
        right,
        text,
        "a label key: an optional DNS name and '/', then 1 to 63 letters, digits, '-', '_' and '.', \
         with a letter or digit at both ends",
    )
}

/// A label's value.
pub(super) fn label_value(text: &str) -> Option<String> {
    fault(
        text.is_empty() || is_qualified_name(text),
        text,
        "a label value: nothing, or at most 63 letters, digits, '-', '_' and '.', with a letter or \
         digit at both ends",
    )
}

/// An IANA service name (RFC 6335, 5.1).
pub(super) fn port_name(text: &str) -> Option<String> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let right = (1..=15).contains(&text.len())
        && text.bytes().all(known)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    fault(
        right,
        text,
        "a port name: 1 to 15 of a-z, 0-9 and single '-', with a letter among them and a letter or \
         digit at both ends",
    )
}

fn fault(right: bool, text: &str, want: &str) -> Option<String> {
    (!right).then(|| format!("\"{text}\" is not right; want {want}"))
}

fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len()) && is_dns_part(text)
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_dns_part(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_qualified_name(text: &str) -> bool {
    let at_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && at_end(text.as_bytes().first())
        && at_end(text.as_bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A syntax, texts that are right and texts that are wrong.
    type Case<'a> = (fn(&str) -> Option<String>, &'a [&'a str], &'a [&'a str]);

    #[test]
    fn right_and_wrong_texts() {
        let long = "a".repeat(64);
        let cases: [Case<'_>; 5] = [
            (dns_label, &["a", "kube-system", "1"], &["", "A", "-a", "a-", "a.b", "a/b", &long]),
            (dns_subdomain, &["a.b-c.1", "web-0"], &["", "a..b", ".a", "a_b", "a/b"]),
            (
                label_key,
                &["app", "A_b.c-1", "x.io/app"],
                &["", "a/b/c", "/a", "x/", "X.io/a", "_a"],
            ),
            (label_value, &["", "A_b.c-1"], &["-", "a b", "a/b", ".a", &long]),
            (port_name, &["http", "a1-b"], &["", "80", "-a", "a--b", "HTTP", "sixteen-letters-"]),
        ];
        for (syntax, right, wrong) in cases {
            for text in right {
                assert_eq!(syntax(text), None);
            }
            for text in wrong {
                assert!(syntax(text).is_some(), "{text:?}");
            }
        }
    }
}
