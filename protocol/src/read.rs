//! A cursor over bytes that a peer wrote by hand-made rules: the envelope, frame heads and handshakes. Used by `batch`
//! and `hello` only. Every int must be minimal (E2.4); headers of arrays, maps, str and bin may be wider than needed.

use helve_handles::Target;
use helve_handles::id::ID_LIMIT;

use crate::frame::Span;
use crate::scan::Bad;

pub(crate) const NIL: u8 = 0xc0;

/// Reads from `pos` on and never beyond the end.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) pos: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, pos: 0 }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Result<u8, Bad> {
        self.bytes.get(self.pos).copied().ok_or(Bad::Short)
    }

    #[inline]
    pub(crate) fn at_end(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Bad> {
        let byte = self.peek()?;
        self.pos += 1;
        Ok(byte)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let rest = self.bytes.get(self.pos..).ok_or(Bad::Short)?;
        let chunk = rest.first_chunk::<N>().ok_or(Bad::Short)?;
        self.pos += N;
        Ok(*chunk)
    }

    #[inline]
    fn be1(&mut self) -> Result<u64, Bad> {
        Ok(u64::from(self.byte()?))
    }

    #[inline]
    fn be2(&mut self) -> Result<u64, Bad> {
        Ok(u64::from(u16::from_be_bytes(self.chunk()?)))
    }

    #[inline]
    fn be4(&mut self) -> Result<u64, Bad> {
        Ok(u64::from(u32::from_be_bytes(self.chunk()?)))
    }

    #[inline]
    fn be8(&mut self) -> Result<u64, Bad> {
        Ok(u64::from_be_bytes(self.chunk()?))
    }

    /// An unsigned int in its shortest form.
    #[inline]
    pub(crate) fn uint(&mut self) -> Result<u64, Bad> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let (value, len) = match *rest {
            [small @ 0..=0x7f, ..] => (u64::from(small), 1),
            [0xcd, a, b, ..] if a > 0 => (u64::from(u16::from_be_bytes([a, b])), 3),
            [0xce, a, b, c, d, ..] if a > 0 || b > 0 => {
                (u64::from(u32::from_be_bytes([a, b, c, d])), 5)
            }
            _ => return self.uint_rare(),
        };
        self.pos += len;
        Ok(value)
    }

    /// The forms that are rare, and why others are refused.
    #[inline(never)]
    fn uint_rare(&mut self) -> Result<u64, Bad> {
        let (value, least) = match self.byte()? {
            0xcc => (self.be1()?, 0x80),
            0xcd => (self.be2()?, 0x100),
            0xce => (self.be4()?, 0x1_0000),
            0xcf => (self.be8()?, 0x1_0000_0000),
            // A signed form of a number that is not negative has a shorter or equal unsigned one.
            0xd0..=0xd3 => {
                self.pos -= 1;
                let value = self.signed()?;
                return Err(if value < 0 {
                    Bad::Type
                } else {
                    Bad::NotMinimal
                });
            }
            _ => return Err(Bad::Type),
        };
        if value < least {
            Err(Bad::NotMinimal)
        } else {
            Ok(value)
        }
    }

    fn signed(&mut self) -> Result<i64, Bad> {
        Ok(match self.byte()? {
            0xd0 => self.be1()? as i8 as i64,
            0xd1 => self.be2()? as i16 as i64,
            0xd2 => self.be4()? as i32 as i64,
            0xd3 => self.be8()? as i64,
            _ => return Err(Bad::Type),
        })
    }

    /// An id, sequence number, revision or epoch: below 2^53 (I1.1).
    #[inline]
    pub(crate) fn id(&mut self) -> Result<u64, Bad> {
        let value = self.uint()?;
        if value < ID_LIMIT {
            Ok(value)
        } else {
            Err(Bad::Id)
        }
    }

    /// A call id: above 0 (I1.3).
    #[inline]
    pub(crate) fn call_id(&mut self) -> Result<u64, Bad> {
        match self.id()? {
            0 => Err(Bad::CallId),
            id => Ok(id),
        }
    }

    /// A target: an int of either sign, below 2^53 in size.
    #[inline]
    pub(crate) fn target(&mut self) -> Result<Target, Bad> {
        let marker = self.peek()?;
        let raw = match marker {
            0x00..=0x7f => {
                self.pos += 1;
                i64::from(marker)
            }
            0xe0..=0xff => {
                self.pos += 1;
                i64::from(marker as i8)
            }
            0xd0..=0xd3 => {
                let value = self.signed()?;
                let least = match marker {
                    0xd0 => -0x20,
                    0xd1 => -0x80,
                    0xd2 => -0x8000,
                    _ => -0x8000_0000,
                };
                if value >= least {
                    return Err(Bad::NotMinimal);
                }
                value
            }
            _ => i64::try_from(self.uint()?).map_err(|_| Bad::Id)?,
        };
        Target::new(raw).ok_or(Bad::Id)
    }

    /// Whether a `nil` stands here; it is passed.
    #[inline]
    pub(crate) fn nil(&mut self) -> Result<bool, Bad> {
        if self.peek()? == NIL {
            self.pos += 1;
            return Ok(true);
        }
        Ok(false)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Bad> {
        match self.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(Bad::Type),
        }
    }

    /// The header of an array. Its claim is held against the bytes left.
    #[inline]
    pub(crate) fn array(&mut self) -> Result<usize, Bad> {
        let marker = self.byte()?;
        let count = match marker {
            0x90..=0x9f => u64::from(marker & 15),
            0xdc => self.be2()?,
            0xdd => self.be4()?,
            _ => return Err(Bad::Type),
        };
        self.claim(count)
    }

    /// The header of a map, in entries.
    pub(crate) fn map(&mut self) -> Result<usize, Bad> {
        let marker = self.byte()?;
        let count = match marker {
            0x80..=0x8f => u64::from(marker & 15),
            0xde => self.be2()?,
            0xdf => self.be4()?,
            _ => return Err(Bad::Type),
        };
        self.claim(count.saturating_mul(2))?;
        Ok(count as usize)
    }

    #[inline]
    fn claim(&self, count: u64) -> Result<usize, Bad> {
        let left = self.bytes.len().saturating_sub(self.pos) as u64;
        if count > left {
            Err(Bad::Short)
        } else {
            Ok(count as usize)
        }
    }

    /// A str: where its text stands. Valid UTF-8.
    pub(crate) fn str(&mut self) -> Result<(Span, &'a str), Bad> {
        let marker = self.byte()?;
        let len = match marker {
            0xa0..=0xbf => u64::from(marker & 31),
            0xd9 => self.be1()?,
            0xda => self.be2()?,
            0xdb => self.be4()?,
            _ => return Err(Bad::Type),
        };
        let (span, bytes) = self.take(len)?;
        Ok((span, std::str::from_utf8(bytes).map_err(|_| Bad::Utf8)?))
    }

    /// A bin: where its bytes stand.
    pub(crate) fn bin(&mut self) -> Result<(Span, &'a [u8]), Bad> {
        let len = match self.byte()? {
            0xc4 => self.be1()?,
            0xc5 => self.be2()?,
            0xc6 => self.be4()?,
            _ => return Err(Bad::Type),
        };
        self.take(len)
    }

    fn take(&mut self, len: u64) -> Result<(Span, &'a [u8]), Bad> {
        let len = self.claim(len)?;
        let (start, end) = (self.pos, self.pos + len);
        let bytes = self.bytes.get(start..end).ok_or(Bad::Short)?;
        self.pos = end;
        Ok((span(start, end), bytes))
    }
}

/// Messages are held below 4 GiB before they are read.
#[inline]
pub(crate) fn span(start: usize, end: usize) -> Span {
    Span {
        start: start as u32,
        end: end as u32,
    }
}

/// A buffer that is one minimal unsigned int and nothing else.
pub(crate) fn whole_uint(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(bytes);
    let value = reader.uint().ok()?;
    reader.at_end().then_some(value)
}
