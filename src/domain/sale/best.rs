//! Which free seats are the best available.
//!
//! Seats come in the order of the house (the best section and the front row
//! first). A row nearer the front always wins; within a row, what is nearer its
//! middle. Neighbours are consecutive numbers of one row. The answer depends on
//! nothing but the free seats, so a repeat gives the same.

use std::cmp::Reverse;

/// A free seat, as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSeat {
    /// The row's rank in the house; lower is better.
    pub row_rank: u64,
    pub number: u32,
    /// Seats of that row, taken ones too.
    pub row_seats: u32,
}

impl FreeSeat {
    /// Twice the distance from the middle of the row: whole numbers only.
    fn off_centre(&self) -> u64 {
        (u64::from(self.number) * 2).abs_diff(u64::from(self.row_seats) + 1)
    }
}

/// Indexes of the chosen seats, ascending; `None` if there are not enough.
/// `free` is sorted by `(row_rank, number)`.
#[must_use]
pub fn choose(free: &[FreeSeat], count: usize, adjacent: bool) -> Option<Vec<usize>> {
    if count == 0 || count > free.len() {
        return None;
    }
    if adjacent {
        return neighbours(free, count);
    }
    let mut by_quality: Vec<usize> = (0..free.len()).collect();
    by_quality.sort_by_key(|&index| {
        let seat = &free[index];
        (seat.row_rank, seat.off_centre(), seat.number)
    });
    by_quality.truncate(count);
    by_quality.sort_unstable();
    Some(by_quality)
}

/// The window of `count` neighbours in the best row that has one.
fn neighbours(free: &[FreeSeat], count: usize) -> Option<Vec<usize>> {
    let start = (0..=free.len() - count)
        .filter(|&start| {
            let (first, last) = (&free[start], &free[start + count - 1]);
            // Sorted and without duplicates, so equal distance means no gap.
            first.row_rank == last.row_rank
                && usize::try_from(last.number.abs_diff(first.number)) == Ok(count - 1)
        })
        .max_by_key(|&start| {
            let window = &free[start..start + count];
            let off_centre: u64 = window.iter().map(FreeSeat::off_centre).sum();
            Reverse((window[0].row_rank, off_centre, start))
        })?;
    Some((start..start + count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seat(row_rank: u64, number: u32) -> FreeSeat {
        FreeSeat {
            row_rank,
            number,
            row_seats: 10,
        }
    }

    fn numbers(free: &[FreeSeat], chosen: &[usize]) -> Vec<(u64, u32)> {
        chosen
            .iter()
            .map(|&i| (free[i].row_rank, free[i].number))
            .collect()
    }

    #[test]
    fn the_middle_of_the_front_row_comes_first() {
        let free: Vec<_> = (1..=2)
            .flat_map(|row| (1..=10).map(move |number| seat(row, number)))
            .collect();
        let chosen = choose(&free, 2, false).unwrap();
        assert_eq!(numbers(&free, &chosen), [(1, 5), (1, 6)]);
        let chosen = choose(&free, 3, true).unwrap();
        assert_eq!(numbers(&free, &chosen), [(1, 4), (1, 5), (1, 6)]);
    }

    #[test]
    fn neighbours_do_not_reach_over_a_gap_or_a_row() {
        let free = [
            seat(1, 9),
            seat(1, 10),
            seat(2, 1),
            seat(2, 3),
            seat(2, 4),
            seat(2, 5),
        ];
        assert_eq!(choose(&free, 3, true), Some(vec![3, 4, 5]));
        assert_eq!(choose(&free, 4, true), None);
        assert_eq!(choose(&free, 4, false).map(|c| c.len()), Some(4));
    }

    /// Every choice of `count` indexes.
    fn subsets(len: usize, count: usize) -> impl Iterator<Item = Vec<usize>> {
        (0_u32..1 << len)
            .filter(move |bits| bits.count_ones() as usize == count)
            .map(move |bits| (0..len).filter(|i| bits & (1 << i) != 0).collect())
    }

    fn is_adjacent(free: &[FreeSeat], chosen: &[usize]) -> bool {
        chosen.windows(2).all(|pair| {
            let (a, b) = (free[pair[0]], free[pair[1]]);
            a.row_rank == b.row_rank && a.number + 1 == b.number
        })
    }

    fn cost(free: &[FreeSeat], chosen: &[usize]) -> (u64, u64) {
        let rows = chosen.iter().map(|&i| free[i].row_rank).sum();
        let off = chosen.iter().map(|&i| free[i].off_centre()).sum();
        (rows, off)
    }

    proptest! {
        #[test]
        fn no_other_choice_is_better(
            taken in prop::collection::btree_set((0_u64..3, 1_u32..6), 0..12),
            count in 1_usize..5,
            adjacent: bool,
        ) {
            let free: Vec<FreeSeat> = taken
                .into_iter()
                .map(|(row_rank, number)| FreeSeat { row_rank, number, row_seats: 5 })
                .collect();
            let best = subsets(free.len(), count)
                .filter(|chosen| !adjacent || is_adjacent(&free, chosen))
                .min_by_key(|chosen| cost(&free, chosen));
            let chosen = choose(&free, count, adjacent);
            prop_assert_eq!(chosen.is_some(), best.is_some());
            if let (Some(chosen), Some(best)) = (chosen, best) {
                prop_assert_eq!(chosen.len(), count);
                prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(!adjacent || is_adjacent(&free, &chosen));
                prop_assert_eq!(cost(&free, &chosen), cost(&free, &best));
            }
        }
    }
}
