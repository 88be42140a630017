//! Names in commands that an operator pastes.

use std::borrow::Cow;

/// `name` as a shell takes it for one word: interfaces may be called `a;b`.
///
/// What begins with `-` is one word too, but programs read an option in it: write it where they want a
/// name, as behind `dev`.
#[must_use]
pub fn shell_word(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("'{}'", name.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GateError, QueueError};

    #[test]
    fn names_that_a_shell_would_read_otherwise_are_quoted() {
        for (name, word) in [
            ("eth0.100", "eth0.100"),
            ("a;reboot", "'a;reboot'"),
            ("$(id)", "'$(id)'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(name), word);
        }
    }

    #[test]
    fn errors_quote_names_in_their_commands() {
        let interface = || "a;reboot".to_owned();
        let queue = QueueError::NoSuchQueue { interface: interface(), queue_id: 1 };
        assert!(queue.to_string().contains("`ethtool -l 'a;reboot'`"), "{queue}");
        let foreign =
            GateError::Foreign { interface: interface(), program: "x".to_owned(), program_id: 1 };
        assert!(foreign.to_string().contains("ip link set dev 'a;reboot' xdp off"), "{foreign}");
        let range = GateError::QueueRange { interface: interface(), queue_id: 64 };
        assert!(range.to_string().contains("ethtool -L 'a;reboot' combined"), "{range}");
        let attach = GateError::Attach { interface: interface(), source: "no".into() };
        assert!(attach.to_string().contains("ethtool -K 'a;reboot' lro off"), "{attach}");
        let bpffs = GateError::NoBpffs { pin_dir: "/a b".into() };
        assert!(bpffs.to_string().contains("mount -t bpf bpf '/a b'"), "{bpffs}");
    }
}
