//! Decoding that refuses what it does not know.
//!
//! Protobuf skips unknown fields without a word. For a firewall that is wrong: the field of a
//! newer client may be the one that forbids. So before a *request* is decoded its bytes are walked
//! along the descriptors, and a field that these do not name is refused with its path. Answers
//! are not walked, so that an older client can read a newer daemon's.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::LazyLock;

use prost::bytes::Buf as _;
use prost::{Message, Name};
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::{Label, Type};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::wire::DESCRIPTORS;

/// What the generated client and server encode and decode with.
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

/// Decodes `U`; strictly, if it is a request.
pub(crate) struct StrictDecoder<U>(PhantomData<U>);

/// The fields of each message type, by its full name.
struct Shapes(HashMap<String, Shape>);

type Shape = BTreeMap<u32, Field>;

struct Field {
    name: String,
    repeated: bool,
    /// The full name of its type, if that is a message.
    message: Option<String>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(Shapes::load);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

impl<U: Message + Name + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = source.copy_to_bytes(source.remaining());
        if U::NAME.ends_with("Request") {
            check::<U>(&bytes).map_err(Status::invalid_argument)?;
        }
        let message = U::decode(bytes).map_err(|error| {
            Status::invalid_argument(format!("{} cannot be read: {error}", U::full_name()))
        })?;
        Ok(Some(message))
    }
}

/// Whether all fields in `bytes`, taken as a `U`, are known.
pub(crate) fn check<U: Name>(bytes: &[u8]) -> Result<(), String> {
    let name = U::full_name();
    SHAPES.walk(&name, bytes).map_err(|problem| format!("{name}: {problem}"))
}

impl Shapes {
    fn load() -> Self {
        // The build made the bytes. Were they unreadable, no shape would be known and every
        // request be refused.
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
        let mut shapes = HashMap::new();
        for file in &files.file {
            for message in &file.message_type {
                add_shapes(&mut shapes, file.package(), message);
            }
        }
        Self(shapes)
    }

    /// The nesting is no deeper than the types', of which none contains itself.
    fn walk(&self, name: &str, mut bytes: &[u8]) -> Result<(), String> {
        let shape = self.0.get(name).ok_or_else(|| format!("unknown message {name}"))?;
        let mut last = (0, 0_usize);
        while !bytes.is_empty() {
            let (number, value) = field(&mut bytes).ok_or_else(|| CUT_SHORT.to_owned())?;
            let known = shape.get(&number).ok_or_else(|| {
                format!(
                    "field {number} is unknown here; the client may be newer than the daemon: \
                     upgrade the daemon, or leave the field out"
                )
            })?;
            // Encoders write the items of a list on end.
            last = if last.0 == number { (number, last.1 + 1) } else { (number, 0) };
            if let (Some(message), Some(value)) = (&known.message, value) {
                self.walk(message, value).map_err(|problem| known.locate(last.1, &problem))?;
            }
        }
        Ok(())
    }
}

const CUT_SHORT: &str = "the message is cut short or no protobuf";

impl Field {
    fn locate(&self, place: usize, problem: &str) -> String {
        // A path joins with dots; the first sentence after it begins with a colon.
        let joint = if problem.starts_with("field ") || problem == CUT_SHORT { ": " } else { "." };
        if self.repeated {
            format!("{}[{place}]{joint}{problem}", self.name)
        } else {
            format!("{}{joint}{problem}", self.name)
        }
    }
}

fn add_shapes(
    shapes: &mut HashMap<String, Shape>,
    scope: &str,
    message: &prost_types::DescriptorProto,
) {
    let name = format!("{scope}.{}", message.name());
    let fields = message.field.iter().filter_map(|field| {
        let shape = Field {
            name: field.name().to_owned(),
            repeated: field.label() == Label::Repeated,
            message: (field.r#type() == Type::Message)
                .then(|| field.type_name().trim_start_matches('.').to_owned()),
        };
        Some((u32::try_from(field.number()).ok()?, shape))
    });
    shapes.insert(name.clone(), fields.collect());
    for nested in &message.nested_type {
        add_shapes(shapes, &name, nested);
    }
}

/// Takes one field: its number, and its bytes if it is length-delimited. `None` where the bytes
/// are no field.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    const VARINT: u64 = 0;
    const FIXED_64: u64 = 1;
    const DELIMITED: u64 = 2;
    const FIXED_32: u64 = 5;
    let key = varint(bytes)?;
    let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0)?;
    let len = match key & 7 {
        VARINT => {
            varint(bytes)?;
            return Some((number, None));
        }
        FIXED_64 => 8,
        FIXED_32 => 4,
        DELIMITED => usize::try_from(varint(bytes)?).ok()?,
        _ => return None,
    };
    let (value, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some((number, (key & 7 == DELIMITED).then_some(value)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
