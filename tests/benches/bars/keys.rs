//! Keys and values of the loads: 12 bytes and 100 bytes, as the bars say.

/// A stream of numbers that is the same in every run.
pub(crate) struct Draw(u64);

impl Draw {
    /// The stream of one connection.
    pub(crate) fn new(connection: usize) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ (connection as u64 + 1) << 17)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*: short, and good enough to spread keys.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

/// The key of a number, 12 bytes.
pub(crate) fn key(number: u64) -> String {
    format!("key-{number:08}")
}

/// 100 bytes.
pub(crate) fn value() -> String {
    "0123456789".repeat(10)
}
