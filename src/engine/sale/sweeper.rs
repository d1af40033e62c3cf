//! Cleaning up after holds that ended by time, well within the two seconds in
//! which a seat map must show them.

use super::SaleEngine;
use crate::store::sales::SalesError;

/// How often to sweep.
pub const SWEEP_INTERVAL_MS: u64 = 500;
/// Holds ended by one unit of work: others wait for it.
const HOLDS_PER_STEP: u32 = 200;
/// Steps of one sweep; what is left is due at the next.
const STEPS_MAX: u32 = 50;

impl SaleEngine {
    /// Ends expired holds and says which seats came free; answers how many.
    /// The app's ticker calls it every [`SWEEP_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`SalesError::Unavailable`] while SQL is; the next sweep goes on.
    pub async fn sweep(&self) -> Result<u64, SalesError> {
        let mut holds = 0;
        for _ in 0..STEPS_MAX {
            let swept = self.store().sweep(HOLDS_PER_STEP).await?;
            holds += swept.holds;
            for performance in swept.performances {
                self.seats_changed(performance);
            }
            if !swept.more {
                break;
            }
        }
        Ok(holds)
    }
}
