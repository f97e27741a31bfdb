//! How often the rare paths were taken: a test that never comes to them shows nothing.

/// How often the rare paths were taken.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    pub executed: u64,
    pub nested: u64,
    pub cancelled_before: u64,
    pub cancelled_running: u64,
    pub ret_crossed: u64,
    pub held: u64,
    pub lent_used: u64,
    pub revoked: u64,
    pub told: u64,
    pub reflected: u64,
    pub identities: u64,
    pub own: u64,
    pub pending_args: u64,
    pub aliases: u64,
    pub waited: u64,
    pub large: u64,
    pub large_results: u64,
    pub large_cancelled: u64,
    pub given_up: u64,
    pub lost_before: u64,
    pub lost_running: u64,
}

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        let pairs: [(&mut u64, u64); 21] = [
            (&mut self.executed, other.executed),
            (&mut self.nested, other.nested),
            (&mut self.cancelled_before, other.cancelled_before),
            (&mut self.cancelled_running, other.cancelled_running),
            (&mut self.ret_crossed, other.ret_crossed),
            (&mut self.held, other.held),
            (&mut self.lent_used, other.lent_used),
            (&mut self.revoked, other.revoked),
            (&mut self.told, other.told),
            (&mut self.reflected, other.reflected),
            (&mut self.identities, other.identities),
            (&mut self.own, other.own),
            (&mut self.pending_args, other.pending_args),
            (&mut self.aliases, other.aliases),
            (&mut self.waited, other.waited),
            (&mut self.large, other.large),
            (&mut self.large_results, other.large_results),
            (&mut self.large_cancelled, other.large_cancelled),
            (&mut self.given_up, other.given_up),
            (&mut self.lost_before, other.lost_before),
            (&mut self.lost_running, other.lost_running),
        ];
        for (sum, n) in pairs {
            *sum += n;
        }
    }

    /// Names of what never happened.
    pub fn missing(&self) -> Vec<String> {
        format!("{self:?}")
            .split([',', '{', '}'])
            .filter(|part| part.trim().ends_with(": 0"))
            .map(|part| part.trim().to_owned())
            .collect()
    }
}
