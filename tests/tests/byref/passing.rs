//! `&mut` arguments beside everything else that a method may take; what the interface says of them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use helve::Remote;
use helve::prelude::*;
use helve::track::{Track, Tracked};
use helve_handles::schema::Kind;
use helve_tests::harness::{Harness, Tracker, limited};

use crate::desk::{DeskHandle, Doc, EarHandle, MemDesk, Numbered, doc};

// R24.1, R24.6: several, with handles, a stream, a context and a default between them; also where the call has to be made
// again, whole.
#[tokio::test]
async fn mut_arguments_stand_beside_handles_streams_context_and_defaults() {
    let tracker = Tracker::new();
    let object = MemDesk::new(&tracker);
    let ran = object.ran.clone();
    let here = DeskHandle::new(object);
    let harness = Harness::memory(&tracker, here.clone());
    let far: DeskHandle = harness.connect().await;
    for desk in [here, far] {
        let mut plain = doc();
        let mut tracked = Tracked::new(doc());
        for round in 1..4 {
            let ears = (1..3).map(|n| EarHandle::new(Numbered(n))).collect();
            let own = EarHandle::new(Numbered(10));
            let numbers = Streaming::from(vec![100, 200]);
            let call = desk.both(&mut plain, ears, numbers, &mut tracked, &own, 2);
            let sum = limited(call.deadline(Duration::from_secs(60))).await;
            assert_eq!(sum, Ok(313));
            assert_eq!(plain.0, format!("title{}", "left".repeat(round)));
            assert_eq!(tracked.1, 1 + 2 * round as u32);
            assert_eq!(tracked.rev(), 1 + round as u64);
        }
    }
    assert_eq!(ran.load(Ordering::SeqCst), 6);
    harness.finish().await;
}

/// Generic, and with the names of everything else.
#[interface(id = "test.Shelf")]
trait Shelf<T: Track> {
    async fn swap(
        &mut self,
        refs: &mut T,
        call: &mut (T, u8),
        text: &str,
        bytes: &[u8],
        many: &[T],
    );
    #[detached]
    async fn put(&mut self, args: &mut Option<T>, value: T) -> Option<T>;
}

struct MemShelf<T>(Option<T>);

impl<T: Track> Shelf<T> for MemShelf<T> {
    async fn swap(
        &mut self,
        refs: &mut T,
        call: &mut (T, u8),
        text: &str,
        bytes: &[u8],
        many: &[T],
    ) {
        assert_eq!((text, bytes, many.len()), ("text", &[1, 2][..], 2));
        std::mem::swap(refs, &mut call.0);
        call.1 += 1;
        self.0 = Some(refs.clone());
    }
    async fn put(&mut self, args: &mut Option<T>, value: T) -> Option<T> {
        *args = self.0.replace(value);
        args.clone()
    }
}

#[tokio::test]
async fn a_generic_interface_takes_them_too() {
    let tracker = Tracker::new();
    let here = ShelfHandle::<String>::new(MemShelf(None));
    let harness = Harness::memory(&tracker, here.clone());
    let far: ShelfHandle<String> = harness.connect().await;
    for shelf in [here, far] {
        let (mut a, mut b) = ("a".to_owned(), Tracked::new(("b".to_owned(), 1)));
        let many = ["x".to_owned(), "y".to_owned()];
        limited(shelf.swap(&mut a, &mut b, "text", &[1, 2], &many))
            .await
            .unwrap();
        assert_eq!((&*a, &b.0, b.1), ("b", &"a".to_owned(), 2));
        let mut old = None;
        let got = limited(shelf.put(&mut old, "c".to_owned())).await.unwrap();
        assert_eq!((got, old), (Some("b".to_owned()), Some("b".to_owned())));
    }
    harness.finish().await;
}

/// A value with handles inside.
type Book = (String, Vec<EarHandle>);

#[interface(id = "test.Library")]
trait Library {
    /// Gives one of its own, takes the first.
    async fn lend(&self, book: &mut Book) -> u64;
}

struct MemLibrary;

impl Library for MemLibrary {
    async fn lend(&self, book: &mut Book) -> u64 {
        let mut sum = 0;
        for ear in &book.1 {
            sum += ear.number().await.unwrap_or(1_000_000);
        }
        book.1.push(EarHandle::new(Numbered(sum)));
        book.0.push('!');
        sum
    }
}

// R15.1, E6.11, R24.10: a handle in a change is introduced by the frame that carries it.
#[tokio::test]
async fn handles_inside_go_up_and_come_back_with_the_change() {
    let tracker = Tracker::new();
    let here = LibraryHandle::new(MemLibrary);
    let harness = Harness::memory(&tracker, here.clone());
    let far: LibraryHandle = harness.connect().await;
    for library in [here, far] {
        let mut book = Tracked::new(("b".to_owned(), vec![EarHandle::new(Numbered(5))]));
        assert_eq!(limited(library.lend(&mut book)).await, Ok(5));
        book.change(|book| book.1.push(EarHandle::new(Numbered(7))))
            .unwrap();
        assert_eq!(limited(library.lend(&mut book)).await, Ok(17));
        assert_eq!((book.1.len(), &*book.0), (4, "b!!"));
        assert_eq!(limited(book.1[3].number()).await, Ok(17));

        let mut plain: Book = (String::new(), vec![book.1[1].clone()]);
        assert_eq!(limited(library.lend(&mut plain)).await, Ok(5));
        assert_eq!(limited(plain.1[1].number()).await, Ok(5));
    }
    harness.finish().await;
}

/// A page as it is now.
#[derive(Wire, Track, Clone, Debug, PartialEq)]
pub struct Page {
    title: String,
    #[serde(default)]
    color: u32,
}

/// The same as an older peer knows it.
mod older {
    use helve::prelude::*;

    #[derive(Wire, Track, Clone)]
    pub struct Page {
        pub title: String,
    }

    #[interface(id = "test.Pages")]
    pub trait Pages {
        async fn name(&self, page: &mut Page, title: &str);
    }

    pub struct MemPages;

    impl Pages for MemPages {
        async fn name(&self, page: &mut Page, title: &str) {
            if !title.is_empty() {
                page.title = title.to_owned();
            }
        }
    }
}

#[interface(id = "test.Pages")]
trait Pages {
    async fn name(&self, page: &mut Page, title: &str);
}

// R24.3
#[tokio::test]
async fn of_another_version_of_the_type_the_value_comes_back_whole_if_it_changed() {
    let tracker = Tracker::new();
    let root = older::PagesHandle::new(older::MemPages);
    let harness = Harness::memory(&tracker, root);
    let pages: PagesHandle = {
        let _first: older::PagesHandle = harness.connect().await;
        harness.connect().await
    };
    let page = |title: &str, color| Page {
        title: title.to_owned(),
        color,
    };
    let (mut plain, mut tracked) = (page("a", 7), Tracked::new(page("a", 7)));
    for title in ["", "b", "c"] {
        limited(pages.name(&mut plain, title)).await.unwrap();
        limited(pages.name(&mut tracked, title)).await.unwrap();
        let expected = match title {
            "" => page("a", 7),
            title => page(title, 0),
        };
        assert_eq!((&plain, &*tracked), (&expected, &expected));
    }
    assert_eq!(tracked.rev(), 3);
    assert!(
        harness
            .server_ends()
            .iter()
            .all(|end| end.stats().kept == 0)
    );
    drop(pages);
    harness.finish().await;
}

#[test]
fn the_interface_says_that_they_are_by_reference() {
    let tidy = &DeskHandle::INTERFACE.methods[0];
    assert_eq!(tidy.args[0].kind, Kind::Ref);
    assert_eq!(tidy.args[0].kind as u8, 2);
    assert_eq!(tidy.args[0].ty, helve_handles::schema::TypeRef::of::<Doc>());
}
