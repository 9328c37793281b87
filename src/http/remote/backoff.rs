//! When something is tried again that failed for a reason that may pass.

use std::time::Duration;

use rand::Rng;

/// First pause.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause of our own choice.
const LONGEST: Duration = Duration::from_secs(30);
/// Longest pause that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Pauses that grow, with some chance in them so that not all who wait come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    left: u32,
    next: Duration,
}

impl Backoff {
    /// Allows so many retries.
    #[must_use]
    pub fn new(retries: u32) -> Self {
        Self {
            left: retries,
            next: FIRST,
        }
    }

    /// The next pause, at least as long as the server asked for; none when enough was tried.
    pub fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.next.mul_f64(rand::rng().random_range(0.75..1.25));
        self.next = (self.next * 2).min(LONGEST);
        Some(asked.map_or(pause, |asked| asked.min(LONGEST_ASKED).max(pause)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end() {
        let mut backoff = Backoff::new(12);
        let pauses: Vec<Duration> = std::iter::from_fn(|| backoff.pause(None)).collect();
        assert_eq!(pauses.len(), 12);
        assert!(pauses[0] < Duration::from_millis(700) && pauses[11] > Duration::from_secs(20));
        assert!(pauses.iter().all(|pause| *pause < LONGEST.mul_f64(1.3)));
        let mut backoff = Backoff::new(2);
        let asked = backoff.pause(Some(Duration::from_secs(7)));
        assert_eq!(asked, Some(Duration::from_secs(7)));
        assert_eq!(
            backoff.pause(Some(Duration::from_secs(1 << 40))),
            Some(LONGEST_ASKED)
        );
        assert_eq!(backoff.pause(None), None);
    }
}
