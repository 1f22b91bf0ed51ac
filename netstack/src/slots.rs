//! A table whose keys are an index, checked by a serial number that is never used twice.

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    slot: u32,
    serial: u64,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    next_serial: u64,
    len: usize,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), next_serial: 0, len: 0 }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.len += 1;
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.entries.get_mut(slot as usize)
        {
            *entry = Some((serial, value));
            return Key { slot, serial };
        }
        self.entries.push(Some((serial, value)));
        Key { slot: u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX), serial }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.slot as usize) {
            Some(Some((serial, value))) if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.slot as usize) {
            Some(Some((serial, value))) if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (_, value) = self.entries.get_mut(key.slot as usize)?.take()?;
        self.free.push(key.slot);
        self.len -= 1;
        Some(value)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All keys, in the order of their slots.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let entries = self.entries.iter().zip(0u32..);
        entries.filter_map(|(entry, slot)| entry.as_ref().map(|(serial, _)| Key { slot, serial: *serial })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_removed_entry_finds_nothing_in_its_slot() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(first.slot, second.slot);
        assert_eq!(slots.remove(first), None);
        assert_eq!((slots.get(first), slots.len()), (None, 1));
        assert_eq!((slots.get(second), slots.keys()), (Some(&'b'), vec![second]));
    }
}
