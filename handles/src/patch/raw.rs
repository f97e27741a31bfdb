//! A walk over MessagePack bytes without any type: total, iterative, without allocation. Used to read patches, to
//! compose, filter and renumber them, and to see how deep a value nests.

use super::PatchError;

/// A place in bytes that somebody else wrote.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Raw<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Raw<'a> {
        Raw { bytes, pos: 0 }
    }

    /// How many bytes are behind it.
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// All of the bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.pos..).unwrap_or_default()
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    /// The next byte, which stays.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    /// The bytes from `start` to here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.pos).unwrap_or_default()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], PatchError> {
        let taken = self.rest().get(..n).ok_or(PatchError::Short)?;
        self.pos += n;
        Ok(taken)
    }

    fn be(&mut self, n: usize) -> Result<u64, PatchError> {
        let bytes = self.take(n)?;
        Ok(bytes.iter().fold(0, |all, b| all << 8 | u64::from(*b)))
    }

    fn byte(&mut self) -> Result<u8, PatchError> {
        let byte = self.peek().ok_or(PatchError::Short)?;
        self.pos += 1;
        Ok(byte)
    }

    /// Whether a `nil` is next; it is taken.
    pub fn nil(&mut self) -> bool {
        let is_nil = self.peek() == Some(0xc0);
        self.pos += usize::from(is_nil);
        is_nil
    }

    /// An array's length: no more than there are bytes left, so that room for its items may be made at once.
    ///
    /// # Errors
    /// No array, or one that claims too much.
    pub fn array(&mut self) -> Result<usize, PatchError> {
        let len = match self.byte()? {
            marker @ 0x90..=0x9f => u64::from(marker & 15),
            0xdc => self.be(2)?,
            0xdd => self.be(4)?,
            _ => return Err(PatchError::Form),
        };
        let len = usize::try_from(len).map_err(|_| PatchError::Short)?;
        if len > self.rest().len() {
            return Err(PatchError::Short);
        }
        Ok(len)
    }

    /// As [`array`](Self::array), in its shortest form: the head of a node or operation.
    ///
    /// # Errors
    /// As there, or a longer form.
    pub fn short_array(&mut self) -> Result<usize, PatchError> {
        let marker = self.peek();
        let len = self.array()?;
        match (marker, len) {
            (Some(0xdc), ..=0xf) | (Some(0xdd), ..=0xffff) => Err(PatchError::Form),
            _ => Ok(len),
        }
    }

    /// A map's length: no more than there are entries in the bytes left.
    ///
    /// # Errors
    /// No map, or one that claims too much.
    pub fn map(&mut self) -> Result<usize, PatchError> {
        let len = match self.byte()? {
            marker @ 0x80..=0x8f => u64::from(marker & 15),
            0xde => self.be(2)?,
            0xdf => self.be(4)?,
            _ => return Err(PatchError::Form),
        };
        let len = usize::try_from(len).map_err(|_| PatchError::Short)?;
        if len > self.rest().len() / 2 {
            return Err(PatchError::Short);
        }
        Ok(len)
    }

    /// An unsigned int, in its shortest form.
    ///
    /// # Errors
    /// No such int.
    pub fn uint(&mut self) -> Result<u64, PatchError> {
        let (value, least) = match self.byte()? {
            value @ 0x00..=0x7f => (u64::from(value), 0),
            0xcc => (self.be(1)?, 0x80),
            0xcd => (self.be(2)?, 0x100),
            0xce => (self.be(4)?, 0x1_0000),
            0xcf => (self.be(8)?, 0x1_0000_0000),
            _ => return Err(PatchError::Form),
        };
        if value < least {
            return Err(PatchError::Form);
        }
        Ok(value)
    }

    /// An index or a length.
    ///
    /// # Errors
    /// No unsigned int, or one above what can be counted here.
    pub fn index(&mut self) -> Result<usize, PatchError> {
        usize::try_from(self.uint()?).map_err(|_| PatchError::Range)
    }

    /// A str.
    ///
    /// # Errors
    /// No str, or no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, PatchError> {
        let len = match self.byte()? {
            marker @ 0xa0..=0xbf => u64::from(marker & 31),
            0xd9 => self.be(1)?,
            0xda => self.be(2)?,
            0xdb => self.be(4)?,
            _ => return Err(PatchError::Form),
        };
        let len = usize::try_from(len).map_err(|_| PatchError::Short)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| PatchError::Form)
    }

    /// A bin.
    ///
    /// # Errors
    /// No bin.
    pub fn bin(&mut self) -> Result<&'a [u8], PatchError> {
        let len = match self.byte()? {
            0xc4 => self.be(1)?,
            0xc5 => self.be(2)?,
            0xc6 => self.be(4)?,
            _ => return Err(PatchError::Form),
        };
        self.take(usize::try_from(len).map_err(|_| PatchError::Short)?)
    }

    /// Passes one value that nests at most `most` deep. Returns how deep it nests: 0 for a scalar. Every claim is held
    /// against the bytes left.
    ///
    /// # Errors
    /// No value, or too deep a one.
    pub fn skip(&mut self, most: u32) -> Result<u32, PatchError> {
        /// What the envelope's scan allows in a node.
        const RAW: usize = 128;
        let mut owed = [0_u64; RAW];
        let mut depth = 0_usize;
        let mut deepest = 0_u32;
        loop {
            let marker = self.byte()?;
            let (bytes, kids) = match marker {
                0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, None),
                0x80..=0x8f => (0, Some(2 * u64::from(marker & 15))),
                0x90..=0x9f => (0, Some(u64::from(marker & 15))),
                0xa0..=0xbf => (u64::from(marker & 31), None),
                0xc4 | 0xd9 => (self.be(1)?, None),
                0xc5 | 0xda => (self.be(2)?, None),
                0xc6 | 0xdb => (self.be(4)?, None),
                0xc7 => (self.be(1)? + 1, None),
                0xc8 => (self.be(2)? + 1, None),
                0xc9 => (self.be(4)? + 1, None),
                0xcc | 0xd0 => (1, None),
                0xcd | 0xd1 | 0xd4 => (2, None),
                0xd5 => (3, None),
                0xca | 0xce | 0xd2 => (4, None),
                0xd6 => (5, None),
                0xcb | 0xcf | 0xd3 => (8, None),
                0xd7 => (9, None),
                0xd8 => (17, None),
                0xdc => (0, Some(self.be(2)?)),
                0xdd => (0, Some(self.be(4)?)),
                0xde => (0, Some(2 * self.be(2)?)),
                0xdf => (0, Some(2 * self.be(4)?)),
                0xc1 => return Err(PatchError::Form),
            };
            self.take(usize::try_from(bytes).map_err(|_| PatchError::Short)?)?;
            if let Some(kids) = kids {
                if kids > self.rest().len() as u64 {
                    return Err(PatchError::Short);
                }
                let here = u32::try_from(depth + 1).map_err(|_| PatchError::TooDeep)?;
                if here > most {
                    return Err(PatchError::TooDeep);
                }
                deepest = deepest.max(here);
                *owed.get_mut(depth).ok_or(PatchError::TooDeep)? = kids;
                depth += 1;
            }
            // Up, out of all that is complete.
            loop {
                let Some(above) = depth.checked_sub(1) else {
                    return Ok(deepest);
                };
                match owed.get_mut(above) {
                    Some(0) | None => depth = above,
                    Some(left) => {
                        *left -= 1;
                        break;
                    }
                }
            }
        }
    }
}

/// How deep the one value in `bytes` nests, if it is one.
pub fn nesting(bytes: &[u8]) -> Option<u32> {
    Raw::new(bytes).skip(u32::MAX).ok()
}
