//! Which places of a payload are wanted.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use foldhash::fast::RandomState;
use serde_json::Value as Tree;

/// The way to a place: keys of objects, from the outside in; a key that is a number also finds an array's element.
///
/// Written as a plain name (`current`), or as a JSON pointer (`/site/location`, `~1` for `/` and `~0` for `~`, RFC 6901).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path {
    keys: Vec<String>,
    /// Written as a pointer: it leads from the whole record, within an element too.
    is_absolute: bool,
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no place in a message: write a name, as in current, or a path, as in /site/location")]
pub struct PathError {
    text: String,
}

impl Path {
    /// The place of the key `name`, in the element where there is one.
    pub fn name(name: &str) -> Self {
        Self { keys: vec![name.to_owned()], is_absolute: false }
    }

    /// The way of these keys from the record.
    pub fn of(keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { keys: keys.into_iter().map(Into::into).collect(), is_absolute: true }
    }

    /// The keys, from the outside in.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Whether it leads from the whole record even within an element of its rows.
    pub fn is_absolute(&self) -> bool {
        self.is_absolute
    }
}

/// `.` is the record or element itself, `/` begins a pointer, anything else is one key.
impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let error = || PathError { text: text.to_owned() };
        match text.strip_prefix('/') {
            _ if text.is_empty() || text.chars().any(char::is_control) => Err(error()),
            _ if text == "." => Ok(Self::default()),
            None => Ok(Self { keys: vec![text.to_owned()], is_absolute: false }),
            Some("") => Err(error()),
            Some(rest) => {
                let key = |key: &str| key.replace("~1", "/").replace("~0", "~");
                Ok(Self { keys: rest.split('/').map(key).collect(), is_absolute: true })
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keys.as_slice() {
            [] => f.write_str("."),
            [key] if !self.is_absolute => f.write_str(key),
            keys => keys.iter().try_for_each(|key| write!(f, "/{}", key.replace('~', "~0").replace('/', "~1"))),
        }
    }
}

/// A node of the tree of places; 0 is the root.
pub type NodeId = u32;

/// A key that leads on from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The key.
    pub key: String,
    /// Where it leads.
    pub node: NodeId,
    /// The element of an array that it finds.
    pub index: Option<usize>,
    quoted: Quoted,
}

impl Child {
    /// The length of the key as JSON has it, in quotes and with a colon behind, if `text` begins with that.
    #[inline]
    pub(super) fn quoted_at(&self, text: &[u8]) -> Option<usize> {
        self.quoted.begins(text).then_some(self.quoted.bytes.len())
    }
}

/// `"key":`, for a comparison of sixteen bytes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Quoted {
    bytes: Box<[u8]>,
    head: u128,
    mask: u128,
}

impl Quoted {
    fn of(key: &str) -> Self {
        let bytes = format!("{}:", Tree::from(key)).into_bytes().into_boxed_slice();
        let (mut head, mut mask) = ([0; 16], [0; 16]);
        for (at, byte) in bytes.iter().take(16).enumerate() {
            (head[at], mask[at]) = (*byte, 0xff);
        }
        Self { bytes, head: u128::from_le_bytes(head), mask: u128::from_le_bytes(mask) }
    }

    #[inline]
    fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk() {
            Some(head) if u128::from_le_bytes(*head) & self.mask != self.head => false,
            Some(_) if self.bytes.len() <= 16 => true,
            _ => text.starts_with(&self.bytes),
        }
    }
}

/// So many children are looked through one by one.
const FEW: usize = 8;

/// A place on the way to what is wanted, or one that is wanted itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) children: Vec<Child>,
    /// The children by their keys, where they are more than a few.
    by_key: HashMap<Box<[u8]>, u32, RandomState>,
    /// The number of the place that this is.
    pub(super) place: Option<u32>,
    /// Wanted whole, whatever it is.
    pub(super) whole: bool,
    /// The number of the array that this is.
    pub(super) array: Option<u32>,
}

impl Node {
    fn find(&self, key: &[u8]) -> Option<usize> {
        match self.children.len() {
            0..=FEW => self.children.iter().position(|child| child.key.as_bytes() == key),
            _ => self.by_key.get(key).map(|at| *at as usize),
        }
    }

    fn add(&mut self, key: &str, node: NodeId) {
        self.by_key.insert(key.as_bytes().into(), self.children.len() as u32);
        let index = key.parse().ok().filter(|index: &usize| index.to_string() == key);
        self.children.push(Child { key: key.to_owned(), node, index, quoted: Quoted::of(key) });
    }
}

/// The wanted places of a record, or of an element: a tree of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    nodes: Vec<Node>,
    count: u32,
}

impl Default for Places {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], count: 0 }
    }
}

impl Places {
    /// The root of the tree.
    pub const ROOT: NodeId = 0;

    fn node(&mut self, path: &Path) -> NodeId {
        let mut at = Self::ROOT;
        for key in path.keys() {
            at = match self.child(at, key.as_bytes(), 0) {
                Some((_, known)) => known,
                None => {
                    let node = self.nodes.len() as NodeId;
                    self.nodes.push(Node::default());
                    self.nodes[at as usize].add(key, node);
                    node
                }
            };
        }
        at
    }

    /// Wants the value at `path`, `whole` if objects and arrays are wanted too; returns its number. A place that is
    /// wanted twice has one number, and is whole if either wants it so.
    pub fn want(&mut self, path: &Path, whole: bool) -> usize {
        let node = self.node(path);
        let node = &mut self.nodes[node as usize];
        node.whole |= whole;
        let place = *node.place.get_or_insert_with(|| {
            self.count += 1;
            self.count - 1
        });
        place as usize
    }

    /// How many places are wanted.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether none is wanted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where `key` leads from `node`, and which of its children that is. Messages of one shape have their keys in one
    /// order, so `guess`, the child that followed the one before in the last message, is tried first.
    #[inline]
    pub fn child(&self, node: NodeId, key: &[u8], guess: usize) -> Option<(usize, NodeId)> {
        let node = &self.nodes[node as usize];
        match node.children.get(guess) {
            Some(child) if child.key.as_bytes() == key => Some((guess, child.node)),
            _ => node.find(key).map(|at| (at, node.children[at].node)),
        }
    }

    #[inline]
    pub(super) fn at(&self, node: NodeId) -> &Node {
        &self.nodes[node as usize]
    }

    /// The keys that lead on from `node`.
    pub fn children(&self, node: NodeId) -> &[Child] {
        &self.nodes[node as usize].children
    }

    /// The number of the place that `node` is, if it is wanted.
    pub fn place(&self, node: NodeId) -> Option<usize> {
        self.nodes[node as usize].place.map(|place| place as usize)
    }

    /// Whether `node` is wanted whole.
    pub fn is_whole(&self, node: NodeId) -> bool {
        self.nodes[node as usize].whole
    }

    /// The number of the array whose elements are rows, if `node` is one.
    pub fn array(&self, node: NodeId) -> Option<usize> {
        self.nodes[node as usize].array.map(|array| array as usize)
    }
}

/// What is wanted of payloads: places of each record, and arrays whose elements are rows, with places of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Of the record.
    pub record: Places,
    /// Of the elements of each array, by its number.
    pub elements: Vec<Places>,
    /// Which place of the record each array is.
    arrays: Vec<(Path, usize)>,
}

impl Plan {
    /// Wants the elements of the array at `path`; returns the array's number, and its place in the record.
    pub fn want_array(&mut self, path: &Path) -> (usize, usize) {
        if let Some(known) = self.arrays.iter().position(|(array, _)| array.keys() == path.keys()) {
            return (known, self.arrays[known].1);
        }
        let (array, place) = (self.arrays.len(), self.record.want(path, false));
        let node = self.record.node(path);
        self.record.nodes[node as usize].array = Some(array as u32);
        self.arrays.push((path.clone(), place));
        self.elements.push(Places::default());
        (array, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_a_name_a_pointer_or_the_record_itself() {
        let keys = |text: &str| text.parse::<Path>().unwrap().keys().to_vec();
        assert_eq!(keys("current"), ["current"]);
        assert_eq!(keys("a.b"), ["a.b"]);
        assert_eq!(keys("/site/a~1b/~0"), ["site", "a/b", "~"]);
        assert!(keys(".").is_empty());
        assert!("".parse::<Path>().is_err() && "/".parse::<Path>().is_err() && "a\nb".parse::<Path>().is_err());
    }

    #[test]
    fn a_place_wanted_twice_has_one_number() {
        let mut plan = Plan::default();
        let path = |text: &str| text.parse::<Path>().unwrap();
        assert_eq!(plan.record.want(&path("a"), false), 0);
        assert_eq!(plan.record.want(&path("/b/c"), false), 1);
        assert_eq!(plan.record.want(&path("/a"), true), 0);
        assert_eq!((plan.want_array(&path("/rows")), plan.want_array(&path("/rows"))), ((0, 2), (0, 2)));
        let (_, node) = plan.record.child(Places::ROOT, b"a", 7).unwrap();
        assert!(plan.record.is_whole(node) && plan.record.place(node) == Some(0));
        assert_eq!(plan.record.len(), 3);
    }

    proptest! {
        #[test]
        fn a_path_survives_the_way_through_text(keys in proptest::collection::vec("[a-z~/.]{1,6}", 1..5)) {
            let path = Path::of(keys);
            prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }
    }
}
