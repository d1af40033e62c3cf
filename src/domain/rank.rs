//! How many orders before mine no longer wait: the exact half of every position.
//!
//! A bitmap holds one bit per order (bit `order`; orders start at 1, so bit 0 stays clear). Over blocks of 512 bits,
//! one cache line, a Fenwick tree keeps counts: a look-up adds O(log blocks) counts and at most eight popcounts.
//! Ten million orders take 1.25 MB of bitmap and 78 KB of tree.
//!
//! Invariants:
//! - a departure is for ever: bits are only ever set, and loading a page merges it into what is there;
//! - `tree` agrees with `words` after every public call, `departed` is the number of bits set;
//! - `words` is a whole number of pages, so that a page can be saved as it lies in memory.

/// Orders in one saved page: 4 KiB.
pub const PAGE_BITS: u64 = 32_768;
/// Bytes of one saved page.
pub const PAGE_BYTES: usize = (PAGE_BITS / 8) as usize;
/// The largest order a rank takes (512 MiB of bitmap), so that a damaged number cannot ask for all memory.
pub const ORDER_MAX: u64 = u32::MAX as u64;

const PAGE_WORDS: usize = (PAGE_BITS / 64) as usize;
const PAGES_MAX: u64 = (ORDER_MAX + 1) / PAGE_BITS;
const BLOCK_WORDS: usize = 8;
const PAGE_BLOCKS: usize = PAGE_WORDS / BLOCK_WORDS;

/// Why a saved page was refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("page {page_no} has {found} bytes instead of {PAGE_BYTES}")]
    Length { page_no: u32, found: usize },
    #[error("page {page_no} lies behind the largest order")]
    BeyondMax { page_no: u32 },
    #[error("page 0 marks order 0 as departed, which is never issued")]
    OrderZero,
}

/// The departed orders of one lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DepartedRank {
    words: Vec<u64>,
    /// Fenwick tree over block counts; node `i` (from 1) is `tree[i - 1]`.
    tree: Vec<u32>,
    departed: u64,
}

impl DepartedRank {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds a rank from its bitmap (bit `order` of the concatenated words) in one linear pass. Orders that are
    /// never issued (0, and those above [`ORDER_MAX`]) are dropped.
    #[must_use]
    pub fn from_bits(mut words: Vec<u64>) -> Self {
        words.truncate(PAGES_MAX as usize * PAGE_WORDS);
        words.resize(words.len().next_multiple_of(PAGE_WORDS), 0);
        if let Some(first) = words.first_mut() {
            *first &= !1;
        }
        let mut tree: Vec<u32> = words.chunks_exact(BLOCK_WORDS).map(count_ones).collect();
        let departed = tree.iter().map(|&count| u64::from(count)).sum();
        for node in 1..=tree.len() {
            let parent = node + lowest_bit(node);
            if parent <= tree.len() {
                tree[parent - 1] += tree[node - 1];
            }
        }
        Self {
            words,
            tree,
            departed,
        }
    }

    /// Marks an order as departed; false if it was already, or if no such order exists (0, above [`ORDER_MAX`]).
    pub fn insert(&mut self, order: u64) -> bool {
        if order == 0 || order > ORDER_MAX {
            return false;
        }
        let word = word_of(order);
        if word >= self.words.len() {
            self.grow_to_page(page_of(order));
        }
        let bit = 1 << (order % 64);
        if self.words[word] & bit != 0 {
            return false;
        }
        self.words[word] |= bit;
        self.add(word / BLOCK_WORDS, 1);
        true
    }

    #[must_use]
    pub fn contains(&self, order: u64) -> bool {
        order <= ORDER_MAX
            && self
                .words
                .get(word_of(order))
                .is_some_and(|word| word & (1 << (order % 64)) != 0)
    }

    /// All departed orders.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.departed
    }

    /// Departed orders smaller than `order`.
    #[must_use]
    pub fn count_below(&self, order: u64) -> u64 {
        if order > ORDER_MAX || word_of(order) >= self.words.len() {
            return self.departed;
        }
        let word = word_of(order);
        let block = word / BLOCK_WORDS;
        let mut below = u64::from(count_ones(&self.words[block * BLOCK_WORDS..word]));
        below += u64::from((self.words[word] & ((1 << (order % 64)) - 1)).count_ones());
        let mut node = block;
        while node > 0 {
            below += u64::from(self.tree[node - 1]);
            node -= lowest_bit(node);
        }
        below
    }

    /// Every page held in memory, in order; pages behind the last are all zero.
    pub fn pages(&self) -> impl Iterator<Item = (u32, &[u64])> {
        (0..).zip(self.words.chunks_exact(PAGE_WORDS))
    }

    /// One page as it is saved: words little endian, so that bit `order % 8` of byte `order / 8` is an order's.
    #[must_use]
    pub fn page_bytes(&self, page_no: u32) -> Vec<u8> {
        let start = page_no as usize * PAGE_WORDS;
        match self.words.get(start..start + PAGE_WORDS) {
            Some(words) => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            None => vec![0; PAGE_BYTES],
        }
    }

    /// Merges a saved page. Costs at most one tree update per block, 64 a page: ten million orders load in
    /// milliseconds, and positions are right between any two pages.
    pub fn load_page(&mut self, page_no: u32, bytes: &[u8]) -> Result<(), PageError> {
        if bytes.len() != PAGE_BYTES {
            return Err(PageError::Length {
                page_no,
                found: bytes.len(),
            });
        }
        if u64::from(page_no) >= PAGES_MAX {
            return Err(PageError::BeyondMax { page_no });
        }
        if page_no == 0 && bytes[0] & 1 != 0 {
            return Err(PageError::OrderZero);
        }
        self.grow_to_page(page_no);
        let first_block = page_no as usize * PAGE_BLOCKS;
        for (index, block_bytes) in bytes.chunks_exact(BLOCK_WORDS * 8).enumerate() {
            self.merge_block(first_block + index, block_bytes);
        }
        Ok(())
    }

    fn merge_block(&mut self, block: usize, bytes: &[u8]) {
        let words = &mut self.words[block * BLOCK_WORDS..(block + 1) * BLOCK_WORDS];
        let before = count_ones(words);
        for (word, eight) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word |= u64::from_le_bytes(*eight);
        }
        let added = count_ones(words) - before;
        if added > 0 {
            self.add(block, added);
        }
    }

    /// Appends empty blocks. A new node covers blocks that may hold departures, so it starts with their sum.
    fn grow_to_page(&mut self, page_no: u32) {
        let words = (page_no as usize + 1) * PAGE_WORDS;
        if words <= self.words.len() {
            return;
        }
        self.words.resize(words, 0);
        for node in self.tree.len() + 1..=words / BLOCK_WORDS {
            let mut sum = 0;
            let mut child = node - 1;
            let covered_from = node - lowest_bit(node);
            while child > covered_from {
                sum += self.tree[child - 1];
                child -= lowest_bit(child);
            }
            self.tree.push(sum);
        }
    }

    fn add(&mut self, block: usize, added: u32) {
        self.departed += u64::from(added);
        let mut node = block + 1;
        while let Some(count) = self.tree.get_mut(node - 1) {
            *count += added;
            node += lowest_bit(node);
        }
    }
}

/// The page that holds an order's bit. Orders above [`ORDER_MAX`] have none; the last page is named for them.
#[must_use]
pub fn page_of(order: u64) -> u32 {
    (order.min(ORDER_MAX) / PAGE_BITS) as u32
}

fn word_of(order: u64) -> usize {
    (order / 64) as usize
}

fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}

fn count_ones(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

#[cfg(test)]
mod tests;
