//! Protobuf, as far as our messages need it: a bounds-checked reader and a writer, no descriptors, no panics.
//!
//! Room: `wire`. Error texts are those of upstream's generated decoders, which reach clients in replies.

mod read;
mod write;

pub use read::{Cursor, Field, WireType};
pub use write::{
    len_field, put_bytes, put_double, put_tag, put_uint, put_varint, varint_len, zigzag32, zigzag64,
};

/// Why bytes are not the message they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    #[error("unexpected EOF")]
    Eof,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: {message}: illegal tag {field} (wire type {wire})")]
    IllegalTag { message: &'static str, field: u32, wire: u8 },
    #[error("proto: {message}: wiretype end group for non-group")]
    EndGroup { message: &'static str },
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongWire { wire: u8, field: &'static str },
    #[error("proto: illegal wireType {wire}")]
    IllegalWire { wire: u8 },
    /// A count that the message format allows and our tables do not (more than 2³² rows).
    #[error("too many {0} in one message")]
    TooMany(&'static str),
}
