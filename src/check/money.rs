//! M: captured within authorised, refunded within captured, and money kept only for what is delivered or held by a person.

use uuid::Uuid;

use super::{
    facts::{Amount, OfPayment, OrderStep, PaymentStep, Placed},
    findings::{Invariant, Judge},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum OrderState {
    /// Something happened because of it, but it was never placed.
    #[default]
    Unplaced,
    Open,
    Cancelled,
    Completed,
}

#[derive(Debug)]
struct Payment {
    payment_id: Uuid,
    requested: i128,
    authorised: i128,
    captured: i128,
    refunded: i128,
    voided: bool,
}

/// One order's money.
#[derive(Debug, Default)]
pub(super) struct OrderMoney {
    pub(super) state: OrderState,
    total: i128,
    currency: String,
    payments: Vec<Payment>,
}

impl OrderMoney {
    pub(super) fn place(&mut self, placed: &Placed, judge: &mut Judge<'_>) {
        judge.holds(Invariant::Money, self.state == OrderState::Unplaced, || {
            format!("order {} is placed again", placed.order_id)
        });
        let sum = placed.lines.iter().map(|line| i128::from(line.total.amount_minor)).sum::<i128>();
        let total = i128::from(placed.total.amount_minor);
        judge.holds(Invariant::Money, sum == total && total >= 0 && !placed.lines.is_empty(), || {
            format!("order {} of {total} has {} lines of together {sum}", placed.order_id, placed.lines.len())
        });
        for line in &placed.lines {
            let (quantity, unit, whole) = (line.quantity, line.unit_price.amount_minor, line.total.amount_minor);
            let product = i128::from(quantity) * i128::from(unit);
            let agreed = line.product_version.is_none();
            judge.holds(Invariant::Money, quantity > 0 && (agreed || product == i128::from(whole)), || {
                format!("line {} has {quantity} pieces at {unit} for {whole}", line.sku)
            });
            let same = [&line.unit_price, &line.total].iter().all(|amount| amount.currency == placed.total.currency);
            judge.holds(Invariant::Money, same, || format!("line {} is not in {}", line.sku, placed.total.currency));
        }
        self.state = OrderState::Open;
        self.total = total;
        self.currency.clone_from(&placed.total.currency);
    }

    pub(super) fn order(&mut self, step: OrderStep, order_id: Uuid, judge: &mut Judge<'_>) {
        let open = self.state == OrderState::Open;
        let late = || format!("order {order_id} is {step:?} though it is {:?}", self.state);
        match step {
            OrderStep::CancellationRequested => (),
            OrderStep::Confirmed | OrderStep::Shipped => judge.holds(Invariant::Termination, open, late),
            OrderStep::Cancelled => {
                judge.holds(Invariant::Termination, open, late);
                self.state = OrderState::Cancelled;
            }
            OrderStep::Completed => {
                judge.holds(Invariant::Termination, open, late);
                let (kept, total) = (self.kept(), self.total);
                judge.holds(Invariant::Money, kept == total, || {
                    format!("order {order_id} of {total} is completed with {kept} captured")
                });
                self.state = OrderState::Completed;
            }
        }
    }

    pub(super) fn payment(&mut self, step: PaymentStep, fact: &OfPayment, judge: &mut Judge<'_>) {
        let payment_id = fact.payment_id;
        judge.holds(Invariant::Money, self.state != OrderState::Unplaced, || {
            format!("payment {payment_id} is of order {}, which was not placed", fact.order_id)
        });
        let Some(amount) = self.amount(fact, judge) else {
            if step == PaymentStep::Voided {
                let payment = self.entry(payment_id);
                payment.voided = true;
                let captured = payment.captured;
                judge.holds(Invariant::Money, captured == 0, || {
                    format!("payment {payment_id} is voided with {captured} captured")
                });
            }
            return;
        };
        let total = self.total;
        let payment = self.entry(payment_id);
        match step {
            PaymentStep::AuthorisationRequested => {
                payment.requested = amount;
                judge.holds(Invariant::Money, amount <= total, || {
                    format!("payment {payment_id} asks for {amount} for an order of {total}")
                });
            }
            PaymentStep::Authorised => {
                payment.authorised += amount;
                let (authorised, requested) = (payment.authorised, payment.requested);
                judge.holds(Invariant::Money, authorised <= requested, || {
                    format!("payment {payment_id} is authorised for {authorised}, asked for were {requested}")
                });
            }
            PaymentStep::Captured => {
                payment.captured += amount;
                let Payment { authorised, captured, voided, .. } = *payment;
                judge.holds(Invariant::Money, captured <= authorised && !voided, || {
                    let voided = if voided { " and voided" } else { "" };
                    format!("payment {payment_id} has {captured} captured, authorised {authorised}{voided}")
                });
                let kept = self.kept();
                judge.holds(Invariant::Money, kept <= total, || {
                    format!("{kept} are captured for order {} of {total}", fact.order_id)
                });
            }
            PaymentStep::Refunded => {
                payment.refunded += amount;
                let Payment { captured, refunded, .. } = *payment;
                judge.holds(Invariant::Money, refunded <= captured, || {
                    format!("payment {payment_id} has {refunded} refunded, captured {captured}")
                });
            }
            PaymentStep::Declined
            | PaymentStep::CaptureRequested
            | PaymentStep::CaptureRefused
            | PaymentStep::VoidRequested
            | PaymentStep::Voided
            | PaymentStep::VoidRefused
            | PaymentStep::RefundRequested
            | PaymentStep::RefundRefused => (),
        }
    }

    /// The amount of a payment fact that has one, in the order's currency and not negative.
    fn amount(&self, fact: &OfPayment, judge: &mut Judge<'_>) -> Option<i128> {
        let Amount { amount_minor, currency } = fact.amount.as_ref()?;
        judge.holds(Invariant::Money, *currency == self.currency && *amount_minor >= 0, || {
            format!("payment {} says {amount_minor} {currency}, the order is in {}", fact.payment_id, self.currency)
        });
        Some(i128::from(*amount_minor))
    }

    fn entry(&mut self, payment_id: Uuid) -> &mut Payment {
        let known = self.payments.iter().position(|payment| payment.payment_id == payment_id);
        let index = known.unwrap_or_else(|| {
            let nothing = Payment { payment_id, requested: 0, authorised: 0, captured: 0, refunded: 0, voided: false };
            self.payments.push(nothing);
            self.payments.len() - 1
        });
        &mut self.payments[index]
    }

    /// Captured and not given back.
    fn kept(&self) -> i128 {
        self.payments.iter().map(|payment| payment.captured - payment.refunded).sum()
    }

    /// What is wrong with the money once nothing more is to happen: an order that is not completed must have let go of all.
    pub(super) fn left_over(&self) -> Option<String> {
        if self.state == OrderState::Completed {
            return None;
        }
        let held = self.payments.iter().find(|payment| {
            !payment.voided && (payment.captured > payment.refunded || payment.authorised > payment.captured)
        });
        held.map(|payment| {
            let Payment { payment_id, authorised, captured, refunded, .. } = payment;
            format!(
                "payment {payment_id} is left with authorised {authorised}, captured {captured}, refunded {refunded}"
            )
        })
    }
}
