//! What a walk has found so far, and what is kept from payload to payload.

use super::plan::{NodeId, Places};
use super::{Found, Plan};
use crate::row::Value;

/// Where a payload's arrays begin; none there.
pub(super) const NOWHERE: usize = usize::MAX;

/// Kept between payloads, so that little is allocated for each.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    record: Vec<Found<'static>>,
    element: Vec<Found<'static>>,
    arrays: Vec<usize>,
    record_order: Order,
    element_orders: Vec<Order>,
}

/// The shelf's content while a payload is read.
pub(super) struct Taken<'p> {
    pub(super) record: Vec<Found<'p>>,
    pub(super) element: Vec<Found<'p>>,
    /// Where each array of the plan begins, in bytes of the payload.
    pub(super) arrays: Vec<usize>,
    record_order: Order,
    element_orders: Vec<Order>,
}

impl Shelf {
    /// For the next payload.
    pub(super) fn take<'p>(&mut self, plan: &Plan) -> Taken<'p> {
        let mut taken = Taken {
            record: emptied(std::mem::take(&mut self.record)),
            element: emptied(std::mem::take(&mut self.element)),
            arrays: std::mem::take(&mut self.arrays),
            record_order: std::mem::take(&mut self.record_order),
            element_orders: std::mem::take(&mut self.element_orders),
        };
        taken.element_orders.resize_with(plan.elements.len(), Order::default);
        taken
    }

    /// After it.
    pub(super) fn put_back(&mut self, taken: Taken<'_>) {
        self.record = emptied(taken.record);
        self.element = emptied(taken.element);
        self.arrays = taken.arrays;
        self.record_order = taken.record_order;
        self.element_orders = taken.element_orders;
    }
}

impl<'p> Taken<'p> {
    /// Nothing is found yet of a record.
    pub(super) fn record_finds<'a>(&'a mut self, plan: &'a Plan) -> Finds<'a, 'p> {
        missing(&mut self.record, plan.record.len());
        self.arrays.clear();
        self.arrays.resize(plan.elements.len(), NOWHERE);
        Finds { places: &plan.record, found: &mut self.record, arrays: &mut self.arrays, order: &mut self.record_order }
    }

    /// Nothing is found yet of an element of the array number `array`.
    pub(super) fn element_finds<'a>(&'a mut self, plan: &'a Plan, array: usize) -> Finds<'a, 'p> {
        let places = &plan.elements[array];
        missing(&mut self.element, places.len());
        Finds { places, found: &mut self.element, arrays: &mut [], order: &mut self.element_orders[array] }
    }
}

fn missing(found: &mut Vec<Found<'_>>, count: usize) {
    found.clear();
    found.extend((0..count).map(|_| Found::MISSING));
}

/// The same allocation, for values of another payload.
fn emptied<'p>(mut found: Vec<Found<'_>>) -> Vec<Found<'p>> {
    found.clear();
    found.into_iter().map(|_| Found::MISSING).collect()
}

/// Which child of a node followed which, when it was last met.
#[derive(Debug, Default)]
pub(super) struct Order {
    after: Vec<u32>,
}

/// What is found of a record or an element.
pub(super) struct Finds<'a, 'p> {
    pub(super) places: &'a Places,
    found: &'a mut [Found<'p>],
    arrays: &'a mut [usize],
    order: &'a mut Order,
}

/// Of whom the next child is guessed.
#[derive(Clone, Copy)]
pub(super) struct Before(usize);

impl<'a, 'p> Finds<'a, 'p> {
    /// Before the first child of `node`.
    #[inline]
    pub(super) fn first_of(node: NodeId) -> Before {
        Before(2 * node as usize)
    }

    /// The child that is to be expected, as it followed the last time.
    #[inline]
    pub(super) fn guess(&self, before: Before) -> usize {
        self.order.after.get(before.0).map_or(0, |guess| *guess as usize)
    }

    /// Notes which child, leading to `node`, it was; returns what the one after it is guessed by.
    #[inline]
    pub(super) fn followed(&mut self, before: Before, guessed: usize, child: usize, node: NodeId) -> Before {
        if guessed != child {
            let after = &mut self.order.after;
            if after.len() <= before.0 {
                after.resize(before.0 + 1, 0);
            }
            after[before.0] = child as u32;
        }
        Before(2 * node as usize + 1)
    }

    /// `found` stands at `node`.
    #[inline]
    pub(super) fn put(&mut self, node: NodeId, found: Found<'p>) {
        if let Some(place) = self.places.at(node).place {
            self.found[place as usize] = found;
        }
    }

    /// The array at `node` begins at `position`.
    pub(super) fn put_array(&mut self, node: NodeId, position: usize) {
        if let Some(array) = self.places.at(node).array {
            self.arrays[array as usize] = position;
        }
    }

    /// What was found within `node` stands there no more: the last of several equal keys wins. The root
    /// is met once.
    #[inline]
    pub(super) fn forget_within(&mut self, node: NodeId) {
        if node == Places::ROOT {
            return;
        }
        let places = self.places;
        let here = places.at(node);
        if here.array.is_some() {
            self.put_array(node, NOWHERE);
        }
        for child in &here.children {
            self.put(child.node, Found::Value(Value::Unset));
            self.forget_within(child.node);
        }
    }
}
