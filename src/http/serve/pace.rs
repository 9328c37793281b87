//! How long a client may let the server wait: a pause may be long, but on the whole the bytes must come.
//!
//! Only the time counts in which the client is waited for; what the server itself takes is its own.

use std::time::Duration;

/// How slow a client may be.
#[derive(Debug, Clone, Copy)]
pub struct TransferPace {
    /// Longest pause in which not a byte is sent or taken.
    pub idle: Duration,
    /// How long it may be slower than [`Self::least`] at the beginning.
    pub slow: Duration,
    /// Bytes a second that it must send or take on the whole; 0 for any.
    pub least: u64,
}

impl TransferPace {
    /// How long somebody must have been waited for to make way for others.
    pub(super) fn way(&self) -> Duration {
        self.slow.min(self.idle) / 2
    }
}

/// What is left of a client's time; bytes that move earn more of it.
#[derive(Debug)]
pub(super) struct Credit {
    pace: TransferPace,
    left: Duration,
}

impl Credit {
    pub(super) fn new(pace: TransferPace) -> Self {
        let left = if pace.least == 0 {
            pace.idle
        } else {
            pace.slow
        };
        Self { pace, left }
    }

    /// How long the client may be waited for from now on.
    pub(super) fn time_limit(&self) -> Duration {
        self.left.min(self.pace.idle)
    }

    /// The client was waited for, and then so many bytes moved.
    pub(super) fn moved(&mut self, waited: Duration, bytes: usize) {
        let TransferPace { idle, slow, least } = self.pace;
        if least == 0 {
            return;
        }
        // More than a day is no different from a day.
        let micros = (bytes as u64).saturating_mul(1_000_000) / least;
        let earned = Duration::from_micros(micros.min(86_400_000_000));
        self.left = (self.left.saturating_sub(waited) + earned).min(idle.max(slow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: TransferPace = TransferPace {
        idle: Duration::from_secs(60),
        slow: Duration::from_secs(10),
        least: 1000,
    };

    /// Seconds until a client is given up that moves `bytes` every `seconds`; none when it lasts for an hour.
    fn lasts(pace: TransferPace, seconds: u64, bytes: usize) -> Option<u64> {
        let mut credit = Credit::new(pace);
        let mut all = 0;
        while all < 3600 {
            let time_limit = credit.time_limit().as_secs();
            if time_limit < seconds {
                return Some(all + time_limit);
            }
            credit.moved(Duration::from_secs(seconds), bytes);
            all += seconds;
        }
        None
    }

    #[test]
    fn who_dribbles_is_given_up_and_who_pauses_is_not() {
        assert_eq!(lasts(PACE, 3600, 0), Some(10));
        assert!(lasts(PACE, 1, 1).is_some_and(|seconds| seconds <= 11));
        assert!(lasts(PACE, 25, 1).is_some_and(|seconds| seconds <= 10));
        assert!(lasts(PACE, 1, 900).is_some_and(|seconds| seconds <= 100));
        assert_eq!(lasts(PACE, 1, 1000), None);
        assert_eq!(lasts(PACE, 9, 1 << 20), None);
        // Whoever took much may pause for as long as anybody may.
        let mut credit = Credit::new(PACE);
        credit.moved(Duration::ZERO, 1 << 30);
        assert_eq!(credit.time_limit(), PACE.idle);
    }

    #[test]
    fn without_a_least_rate_only_silence_counts() {
        let pace = TransferPace { least: 0, ..PACE };
        assert_eq!(lasts(pace, 59, 1), None);
        assert_eq!(lasts(pace, 61, 1), Some(60));
        let short = TransferPace {
            idle: Duration::from_secs(1),
            ..PACE
        };
        assert_eq!(lasts(short, 2, 1 << 20), Some(1));
    }
}
