//! The macros of helve, `#[interface]`, `#[derive(Wire)]`, `#[derive(Track)]` and `#[derive(Key)]`. Use them through the crate `helve`: what they generate
//! names its hidden module `__rt`. Compiled examples stand at the re-exports in `helve`: a macro crate knows no runtime.
#![forbid(unsafe_code)]

mod attributes;
mod interface;
mod track;
mod wire;

use proc_macro::TokenStream;

/// Makes an interface of a trait: objects that implement it can be called through a handle, from here and from peers.
///
/// ```text
/// #[interface(id = "demo.Cart")]
/// pub trait Cart {
///     /// Adds a line and returns how many there are.
///     async fn add(&mut self, line: Line, #[default] times: u32) -> Result<u32, CartError>;
///     #[oneway]
///     async fn note(&self, text: &str);
///     async fn peek(&self, viewer: &ViewerHandle, cx: &Cx) -> u64;
/// }
/// ```
///
/// The trait stays, with `Send + Sync + 'static` added and each `async fn` written out as one whose future is `Send`;
/// implement it with plain `async fn`, without any attribute. Beside it, with the visibility of the trait, comes the
/// handle `CartHandle`:
/// - `CartHandle::new(object)` takes any `impl Cart`, and `object.into()` is the same unless the trait is generic.
///   `CartHandle::of(&object)` takes an `Arc<Object<_>>`, which may have handles of several interfaces.
/// - The trait's methods, documentation included, with the same parameters less `cx`. Each returns a `Call`, a one-way
///   one a `Receipt`. A method that returns `Result<T, E>` is flattened: its call yields `Result<T, CallError<E>>`.
/// - `Clone`, `==` (the same object), `Hash`, `Debug`, `Wire` (so that it is an argument or result like any other), and
///   the trait `Remote`: `closed`, `is_local`, `downgrade`, `revocable`, `flush`, `INTERFACE` and more.
///
/// # Options
/// `id = ".."`: the name of the interface on the wire, which every method's number depends on. Without it that is
/// `crate.Trait`: write it where peers are built from another crate, or in another language.
///
/// # Methods
/// `async fn` with `&self` (calls overlap) or `&mut self` (one at a time, first in first out). An interface without
/// `&mut self` has no lock. Default bodies are kept. The parameters of the trait are types and constants (`Store<T:
/// Wire>`); methods have none. The names `new`, `of`, `into` and `try_into` are the handle's own.
///
/// | attribute of a method | |
/// |---|---|
/// | `#[oneway]` | nothing comes back: no result, nothing lent. The call is on its way when the handle's method returns |
/// | `#[detached]` | runs on when the session of its caller is lost |
/// | `#[name = "put"]` | its name on the wire, when the method is renamed in Rust, or two names have one hash |
/// | `#[cfg(..)]` | goes to all that is generated |
/// | documentation, `#[deprecated]`, lint levels | go to the handle's method too |
///
/// # Arguments
///
/// | written | travels as |
/// |---|---|
/// | `T: Wire` | a value; handles inside are given |
/// | `&str`, `&[u8]` | a value, borrowed at both ends |
/// | `&T`, `&[T]` | a value; handles inside are lent: dead when the call ends. `T: Clone`, for local calls |
/// | `&mut T` | by reference: what the method changes in it, its caller has when the call returns `Ok`. `T: Track` |
/// | `#[default] x: T` | trailing; an older caller may leave it out, then it is `T::default()` |
/// | `cx: &Cx` | not at all: it is the context of the call, and no parameter of the handle's method |
///
/// For `&mut T` the handle's method takes `&mut T`, `&mut Tracked<T>` or `&Shared<T>`. It returns a `CallMut`, which borrows
/// those arguments.
#[proc_macro_attribute]
pub fn interface(options: TokenStream, item: TokenStream) -> TokenStream {
    interface::expand(options.into(), item.into()).into()
}

/// Makes a type one that can be an argument, a result or a part of one.
///
/// Implements serde's `Serialize` and `Deserialize` too, so that the crate that uses it needs no serde; `#[serde(..)]`
/// attributes mean what they mean there. Structs and enums of every form, generic ones with `T: Wire`.
///
/// | attribute | |
/// |---|---|
/// | `#[wire(serde)]` on the type | serde's traits are implemented already: only describe the type |
/// | `#[wire(serde, opaque)]` | the same, and what those write is not what the fields say: described as a leaf |
/// | `#[wire(js_number)]` on a 64-bit field | a `number` in JavaScript, not a `bigint`; beyond 2^53 - 1 it is an error there |
///
/// The description follows serde's renames, defaults, tags, `skip` and `flatten`; a field with `#[serde(with = "..")]` is
/// described as a leaf, and need not be `Wire`. serde's `remote` and `crate` are the macro's own.
///
/// Refused, as far as the macro can see: 128-bit integers, `Option<Option<_>>` and `Option<()>` (one nil for two values),
/// lifetimes, unions, and handles inside flattened, untagged or internally tagged types, which serde buffers.
#[proc_macro_derive(Wire, attributes(wire, serde, track))]
pub fn wire(item: TokenStream) -> TokenStream {
    wire::expand(item.into()).into()
}

/// Makes the changes of a type tellable: an edit of a value becomes a patch of what changed. Goes beside `Wire`, and the
/// type is `Clone`.
///
/// A struct tells which of its fields changed; an enum that stays the same variant, which of the variant's; a newtype is
/// what it holds. A field's type is `Track` itself, or the field is a leaf: compared, and sent whole where it differs.
///
/// | attribute | |
/// |---|---|
/// | `#[track(leaf)]` on a field or newtype | a leaf of another crate's type: `Clone + PartialEq + Serialize + DeserializeOwned`, no `Wire` |
/// | `#[track(leaf = bytes)]` | the same, compared by what is written, where `==` is missing or hides a difference |
/// | `#[track(view = "admin")]` on a field | only sessions with that view see it. It is an `Option` or has `#[serde(default)]` |
/// | `#[track(bound = "T: Clone")]` on the type | in place of `T: Track` for each parameter `T` |
///
/// | serde's | |
/// |---|---|
/// | `skip` | stays with the process: not tracked, not sent, not rolled back |
/// | `skip_serializing_if` | together with `default`, or on an `Option`: the reader takes the default |
/// | `flatten` | of a struct, or an `Option` of one |
/// | `with`, `serialize_with`, `deserialize_with` | a leaf by that code, compared by what is written |
/// | `untagged`, `from`, `try_from`, `into`; `#[wire(serde, opaque)]` | the type is a leaf, compared by what is written; with `#[track(leaf)]` on it by `==` |
/// | `tag`, `content`, `rename*`, `alias`, `transparent`, `default`, `other` | as they are |
///
/// Refused: what serde does in one direction alone (`skip_serializing`, `skip_deserializing`, names that differ), flattened
/// maps, `skip_serializing_if` in a tuple, lifetimes, unions.
#[proc_macro_derive(Track, attributes(track, wire, serde))]
pub fn track(item: TokenStream) -> TokenStream {
    track::expand(item.into()).into()
}

/// Makes a type one that may be the key of a tracked map, or an item of a tracked set: a newtype or tuple struct of keys,
/// or an enum without payload. Goes beside `Wire`, and the type is `Clone`, `Eq`, and `Ord` or `Hash` for the map.
///
/// Patches tell keys apart by their bytes, so `PartialEq` has to be the derived one, or one that says the same. Refused:
/// whatever else than fields and names decides what is written.
#[proc_macro_derive(Key, attributes(track, wire, serde))]
pub fn key(item: TokenStream) -> TokenStream {
    track::key::expand(item.into()).into()
}
