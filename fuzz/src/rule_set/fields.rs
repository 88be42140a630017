//! Edits of a protobuf message that leave its lengths right, without knowing its type.
//!
//! What cannot be told from a message is taken for one. A text that looks like one by chance is
//! then edited as such, which does no harm.

/// Messages in messages are looked into so deep.
const DEPTH_MAX: usize = 12;

/// Field numbers are small; whatever has larger ones is a text.
const NUMBER_MAX: u64 = 31;

const VARINT: u64 = 0;
const BYTES: u64 = 2;

#[derive(Debug, Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    Text(Vec<u8>),
    Message(Vec<Field>),
}

/// Changes one field of a message: the one that `place` counts to, from the front and around.
///
/// By `what`: it goes; stands twice; takes the value of the field `value` places on; takes another
/// number, or text; gets another field number; goes into a message of its own.
pub(super) fn edited(message: &[u8], place: u16, what: u8, value: u8) -> Vec<u8> {
    let Some(mut fields) = read(message, 0) else { return message.to_vec() };
    let (place, other) = {
        let mut all = Vec::new();
        list(&fields, &mut all);
        let Some(place) = usize::from(place).checked_rem(all.len()) else { return Vec::new() };
        let kind = std::mem::discriminant(&all[place].value);
        all.retain(|it| std::mem::discriminant(&it.value) == kind);
        (place, all[usize::from(value) % all.len()].value.clone())
    };
    let edit = |field: Field| match what % 6 {
        0 => Vec::new(),
        1 => vec![field.clone(), field],
        2 => vec![Field { value: other.clone(), ..field }],
        3 => vec![Field { value: changed(field.value, value), ..field }],
        4 => vec![Field { number: u64::from(value) % NUMBER_MAX + 1, ..field }],
        _ => vec![Field { value: Value::Message(vec![field]), number: u64::from(value % 8) + 1 }],
    };
    change(&mut fields, &mut { place }, &edit);
    write(&fields)
}

fn changed(value: Value, by: u8) -> Value {
    match value {
        // Small, large, or a bit more or less.
        Value::Number(number) => Value::Number(match by % 4 {
            0 => u64::from(by / 4),
            1 => 1 << (by / 4),
            2 => number.wrapping_add(1),
            _ => number.wrapping_sub(1),
        }),
        Value::Text(mut text) => {
            let place = usize::from(by) % (text.len() + 1);
            match text.get_mut(place) {
                Some(byte) => *byte = byte.wrapping_add(1) & 0x7f,
                None => text.push(b'a' + by % 26),
            }
            Value::Text(text)
        }
        Value::Message(_) => Value::Message(Vec::new()),
    }
}

/// `None` for what is no message.
fn read(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = Some(tag >> 3).filter(|number| (1..=NUMBER_MAX).contains(number))?;
        let value = match tag & 7 {
            VARINT => Value::Number(varint(&mut bytes)?),
            BYTES => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (inner, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                let message = (depth < DEPTH_MAX).then(|| read(inner, depth + 1)).flatten();
                message.map_or_else(|| Value::Text(inner.to_vec()), Value::Message)
            }
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn write(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value } in fields {
        let inner = match value {
            Value::Number(value) => {
                put(&mut bytes, number << 3 | VARINT);
                put(&mut bytes, *value);
                continue;
            }
            Value::Text(text) => text.clone(),
            Value::Message(fields) => write(fields),
        };
        put(&mut bytes, number << 3 | BYTES);
        put(&mut bytes, inner.len() as u64);
        bytes.extend(inner);
    }
    bytes
}

/// All fields, each before those within it.
fn list<'a>(fields: &'a [Field], all: &mut Vec<&'a Field>) {
    for field in fields {
        all.push(field);
        if let Value::Message(inner) = &field.value {
            list(inner, all);
        }
    }
}

/// Puts the outcome of `edit` in the place of the field that `left` counts down to.
fn change(fields: &mut Vec<Field>, left: &mut usize, edit: &impl Fn(Field) -> Vec<Field>) -> bool {
    for at in 0..fields.len() {
        if *left == 0 {
            let field = fields[at].clone();
            fields.splice(at..=at, edit(field));
            return true;
        }
        *left -= 1;
        if let Value::Message(inner) = &mut fields[at].value
            && change(inner, left, edit)
        {
            return true;
        }
    }
    false
}

/// Seven bits a byte, the lowest first; the highest bit of a byte says that there are more.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f).to_le_bytes()[0];
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use sluice_api::snapshot;
    use sluice_policy::oracle::generate::cluster;

    use super::*;

    #[test]
    fn what_is_read_is_written_and_an_edit_keeps_it_readable() {
        let mut refused = 0;
        for seed in 0..10 {
            let stored = snapshot::encode(&cluster(seed));
            let fields = read(&stored, 0).unwrap();
            assert_eq!(write(&fields), stored, "seed {seed}");
            let mut all = Vec::new();
            list(&fields, &mut all);
            assert!(all.len() > 50, "seed {seed}: {} fields", all.len());
            for (place, what) in (0..120).zip((0..6).cycle()) {
                let edited = edited(&stored, place, what, 7);
                assert!(read(&edited, 0).is_some(), "seed {seed}, place {place}");
                refused += u32::from(snapshot::decode(&edited).is_err());
            }
        }
        assert!((200..1000).contains(&refused), "of 1200 edits {refused} are refused");
    }
}
