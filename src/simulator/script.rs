//! Reads a behaviour out of a payment's token or a shipment's service. Parts are joined by `+`; what nobody knows means
//! nothing, so an ordinary token or service simply works.

use std::time::Duration;

/// The longest a script may keep a caller waiting; more is cut to this.
const SLOW_MAX: Duration = Duration::from_secs(60);
const LATE_MAX: Duration = Duration::from_secs(3600);
/// Long enough that the reply has been read and acted upon.
const ANSWER_TWICE_AFTER: Duration = Duration::from_millis(500);

/// Which of a service's operations is being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Authorise,
    Capture,
    Void,
    Refund,
    Book,
    Cancel,
    Dispatch,
}

impl Operation {
    /// What a part begins with to mean this operation; none for the operation that brings the script along.
    fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Authorise | Self::Book => None,
            Self::Capture => Some("capture_"),
            Self::Void => Some("void_"),
            Self::Refund => Some("refund_"),
            Self::Cancel => Some("cancel_"),
            Self::Dispatch => Some("dispatch_"),
        }
    }
}

/// How one operation of a payment behaves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PaymentScript {
    /// The reason of a decline.
    pub(super) decline: Option<String>,
    pub(super) refuse: bool,
    pub(super) conduct: Conduct,
}

impl PaymentScript {
    pub(super) fn parse(token: &str, operation: Operation) -> Self {
        let mut script = Self::default();
        for part in parts(token) {
            match part {
                "decline" => script.decline = Some("card_declined".into()),
                "refuse_capture" => script.refuse |= operation == Operation::Capture,
                "refuse_void" => script.refuse |= operation == Operation::Void,
                "refuse_refund" => script.refuse |= operation == Operation::Refund,
                _ => match part.strip_prefix("decline_") {
                    Some(reason) if !reason.is_empty() => script.decline = Some(reason.into()),
                    Some(_) | None => script.conduct.read(part, operation),
                },
            }
        }
        script
    }
}

/// How one operation of a shipment behaves at one carrier.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CarrierScript {
    pub(super) refuse: bool,
    /// When the parcel leaves after the booking; none waits to be told.
    pub(super) dispatch_after: Option<Duration>,
    pub(super) delivered: bool,
    pub(super) conduct: Conduct,
}

impl CarrierScript {
    pub(super) fn parse(service: &str, carrier: &str, operation: Operation) -> Self {
        let mut script =
            Self { refuse: false, dispatch_after: Some(Duration::ZERO), delivered: true, conduct: Conduct::default() };
        for part in parts(service) {
            match part {
                "hold" => script.dispatch_after = None,
                "no_delivery" => script.delivered = false,
                "refuse_cancel" => script.refuse |= operation == Operation::Cancel,
                "refuse_all" => script.refuse |= operation == Operation::Book,
                _ => {
                    if part.strip_prefix("refuse_") == Some(carrier) {
                        script.refuse |= operation == Operation::Book;
                    } else if let Some(after) = millis(part, "dispatch_", LATE_MAX) {
                        script.dispatch_after = Some(after);
                    } else {
                        script.conduct.read(part, operation);
                    }
                }
            }
        }
        script
    }
}

/// How an operation goes wrong on its way, and how its webhooks travel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conduct {
    never: bool,
    timeout_before: bool,
    failures: u32,
    /// The effect is applied, its reply is not sent.
    pub(super) timeout_after: bool,
    /// Waits this long before it does anything, each time it is asked.
    pub(super) slow: Duration,
    pub(super) webhooks: Manner,
}

/// How the webhooks of an effect travel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// They never leave.
    pub(super) lost: bool,
    pub(super) late: Duration,
    /// The same event is sent twice.
    pub(super) duplicate: bool,
    /// The answer is told once more in another event, this long after the first.
    pub(super) again_after: Option<Duration>,
    /// The first webhook is taken before the reply leaves.
    pub(super) first: bool,
    pub(super) reversed: bool,
}

/// Why a request gets no answer and has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Hang,
    Fail,
}

impl Conduct {
    /// What goes wrong before anything happens, when the effect was asked for `asked_before` times without an answer.
    pub(super) fn fault(&self, asked_before: u32) -> Option<Fault> {
        let hangs = u32::from(self.timeout_before);
        if self.never || asked_before < hangs {
            Some(Fault::Hang)
        } else if asked_before < hangs.saturating_add(self.failures) {
            Some(Fault::Fail)
        } else {
            None
        }
    }

    fn read(&mut self, part: &str, operation: Operation) {
        match part {
            "webhook_duplicate" => self.webhooks.duplicate = true,
            "webhook_first" => self.webhooks.first = true,
            "webhook_none" => self.webhooks.lost = true,
            "webhook_reversed" => self.webhooks.reversed = true,
            "answer_twice" => self.webhooks.again_after = Some(ANSWER_TWICE_AFTER),
            _ => {
                if let Some(late) = millis(part, "webhook_late_", LATE_MAX) {
                    self.webhooks.late = late;
                } else if let Some(fault) = operation.prefix().map_or(Some(part), |prefix| part.strip_prefix(prefix)) {
                    self.read_fault(fault);
                }
            }
        }
    }

    fn read_fault(&mut self, fault: &str) {
        match fault {
            "never" => self.never = true,
            "timeout_before" => self.timeout_before = true,
            "timeout_after" => self.timeout_after = true,
            _ => {
                if let Some(slow) = millis(fault, "slow_", SLOW_MAX) {
                    self.slow = slow;
                } else if let Some(times) = fault.strip_prefix("500_").and_then(|times| times.parse().ok()) {
                    self.failures = times;
                }
            }
        }
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split('+').map(|part| part.strip_prefix("tok_").unwrap_or(part))
}

fn millis(part: &str, prefix: &str, max: Duration) -> Option<Duration> {
    let given = part.strip_prefix(prefix)?.parse().ok()?;
    Some(Duration::from_millis(given).min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_token_behaves_as_ok() {
        let script = PaymentScript::parse("visa_4242+tok_slow_soon+500_", Operation::Authorise);
        assert_eq!(script, PaymentScript::default());
        assert_eq!(script.conduct.fault(0), None);
    }

    #[test]
    fn parts_add_up_and_only_the_first_needs_its_prefix() {
        let script = PaymentScript::parse("tok_timeout_before+500_2+tok_slow_70+webhook_late_9", Operation::Authorise);
        let faults: Vec<_> = (0..4).map(|asked| script.conduct.fault(asked)).collect();
        assert_eq!(faults, [Some(Fault::Hang), Some(Fault::Fail), Some(Fault::Fail), None]);
        assert_eq!(script.conduct.slow, Duration::from_millis(70));
        assert_eq!(script.conduct.webhooks.late, Duration::from_millis(9));
    }

    #[test]
    fn a_fault_without_an_operation_is_the_first_operations() {
        let capture = |token| PaymentScript::parse(token, Operation::Capture);
        assert!(!capture("tok_timeout_after").conduct.timeout_after);
        assert!(capture("tok_capture_timeout_after").conduct.timeout_after);
        assert!(!PaymentScript::parse("tok_capture_timeout_after", Operation::Authorise).conduct.timeout_after);
    }

    #[test]
    fn a_refusal_names_its_operation() {
        assert!(PaymentScript::parse("tok_refuse_void", Operation::Void).refuse);
        assert!(!PaymentScript::parse("tok_refuse_void", Operation::Capture).refuse);
        assert!(CarrierScript::parse("refuse_swift", "swift", Operation::Book).refuse);
        assert!(!CarrierScript::parse("refuse_swift", "steady", Operation::Book).refuse);
        assert!(CarrierScript::parse("refuse_all", "steady", Operation::Book).refuse);
        assert!(!CarrierScript::parse("refuse_all", "steady", Operation::Cancel).refuse);
    }

    #[test]
    fn a_wait_is_cut_to_its_bound() {
        assert_eq!(PaymentScript::parse("tok_slow_99999999", Operation::Authorise).conduct.slow, SLOW_MAX);
        let late = CarrierScript::parse("dispatch_99999999", "swift", Operation::Book);
        assert_eq!(late.dispatch_after, Some(LATE_MAX));
    }
}
