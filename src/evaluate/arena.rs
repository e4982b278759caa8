//! Strings in one arena, found through a table of numbers: about ten bytes a name beside the name itself.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Names with dense numbers in order of arrival. Never forgets.
#[derive(Clone, Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    table: HashTable<u32>,
    state: FixedState,
}

impl Names {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name with number `id`; empty if there is none.
    pub fn get(&self, id: u32) -> &str {
        std::str::from_utf8(bytes_of(&self.bytes, &self.ends, id)).unwrap_or_default()
    }

    /// The number of `name`, if it has one.
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = self.state.hash_one(name.as_bytes());
        self.table.find(hash, |&i| bytes_of(&self.bytes, &self.ends, i) == name.as_bytes()).copied()
    }

    /// The number of `name`, and whether it was given just now. `None` if 4 GiB of names are full.
    pub fn intern(&mut self, name: &str) -> Option<(u32, bool)> {
        if let Some(id) = self.find(name) {
            return Some((id, false));
        }
        let end = u32::try_from(self.bytes.len() + name.len()).ok()?;
        let id = u32::try_from(self.ends.len()).ok()?;
        self.bytes.extend_from_slice(name.as_bytes());
        self.ends.push(end);
        let hash = self.state.hash_one(name.as_bytes());
        let (bytes, ends, state) = (&self.bytes, &self.ends, &self.state);
        self.table.insert_unique(hash, id, |&i| state.hash_one(bytes_of(bytes, ends, i)));
        Some((id, true))
    }

    /// All names with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        (0..self.ends.len() as u32).map(|i| (i, self.get(i)))
    }
}

fn bytes_of<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let i = id as usize;
    let Some(&end) = ends.get(i) else { return &[] };
    let start = if i == 0 { 0 } else { ends[i - 1] as usize };
    &bytes[start..end as usize]
}

/// Makes room in steps of an eighth: doubling would hold up to twice what a million entries need.
pub fn reserve_step<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 8).max(64));
    }
}
