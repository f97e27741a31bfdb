//! Bytes in pieces: cut anywhere, they are the same bytes.

use bytes::Bytes;
use helve_protocol::blob::Body;
use helve_protocol::rope::Rope;

fn rope(pieces: &[&'static [u8]]) -> Rope {
    let mut rope = Rope::new();
    for piece in pieces {
        rope.push(Bytes::from_static(piece));
    }
    rope
}

#[test]
fn every_cut_of_a_rope_is_the_cut_of_its_bytes() {
    let rope = rope(&[b"ab", b"", b"c", b"defg"]);
    assert_eq!((rope.len(), rope.is_empty()), (7, false));
    let whole = rope.to_bytes();
    assert_eq!(&whole[..], b"abcdefg");
    for start in 0..=9 {
        for end in start..=9 {
            let mut cut = vec![b'-'];
            rope.copy_to(start, end, &mut cut);
            let from = start.min(7);
            assert_eq!(&cut[1..], &whole[from..end.clamp(from, 7)]);
        }
    }
}

#[test]
fn a_rope_of_one_piece_is_that_piece() {
    let one = Bytes::from_static(b"abc");
    let rope = Rope::from(one.clone());
    assert_eq!(rope.to_bytes().as_ptr(), one.as_ptr(), "no copy");
    assert!(Rope::new().is_empty());
    let body = Body::from(&rope);
    assert_eq!((body.len(), body.as_slice()), (3, None));
    assert_eq!(body.to_bytes().as_ptr(), one.as_ptr());
}
