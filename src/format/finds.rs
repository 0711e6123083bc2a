//! What a walk has found so far, and what is kept from payload to payload.

use serde_json::Value as Tree;

use super::plan::{NodeId, Places};
use super::{Found, OBJECT, Plan};
use crate::row::Value;

/// Where a payload's arrays begin; none there.
pub(super) const NOWHERE: usize = usize::MAX;

/// Kept between payloads, so that little is allocated for each.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    record: Vec<Found<'static>>,
    element: Vec<Found<'static>>,
    /// Where each array of the plan begins, in bytes of the record.
    pub(super) arrays: Vec<usize>,
    record_order: Order,
    element_orders: Vec<Order>,
}

impl Shelf {
    /// For the places of a record, and of its elements. They are given back by [`Self::keep`].
    #[inline]
    pub(super) fn take<'p>(&mut self, plan: &Plan) -> (Vec<Found<'p>>, Vec<Found<'p>>) {
        self.arrays.clear();
        self.arrays.resize(plan.elements.len(), NOWHERE);
        self.element_orders.resize_with(plan.elements.len(), Order::default);
        (std::mem::take(&mut self.record), std::mem::take(&mut self.element))
    }

    /// After the record.
    #[inline]
    pub(super) fn keep(&mut self, record: Vec<Found<'_>>, element: Vec<Found<'_>>) {
        self.record = emptied(record);
        if element.capacity() > 0 {
            self.element = emptied(element);
        }
    }

    /// Nothing is found yet of the record.
    #[inline]
    pub(super) fn record<'a, 'p>(&'a mut self, plan: &'a Plan, found: &'a mut Vec<Found<'p>>) -> Finds<'a, 'p> {
        missing(found, plan.record.len());
        Finds { places: &plan.record, found, arrays: &mut self.arrays, order: &mut self.record_order }
    }

    /// Nothing is found yet of an element of the array number `array`.
    #[inline]
    pub(super) fn element<'a, 'p>(
        &'a mut self,
        plan: &'a Plan,
        array: usize,
        found: &'a mut Vec<Found<'p>>,
    ) -> Finds<'a, 'p> {
        let places = &plan.elements[array];
        missing(found, places.len());
        Finds { places, found, arrays: &mut [], order: &mut self.element_orders[array] }
    }
}

#[inline]
fn missing(found: &mut Vec<Found<'_>>, count: usize) {
    found.clear();
    found.extend((0..count).map(|_| Found::MISSING));
}

/// The same allocation, for values of another payload.
#[inline]
fn emptied(mut found: Vec<Found<'_>>) -> Vec<Found<'static>> {
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

    /// What `found` makes stands at `node`, and so nothing within it: the last of several equal keys wins.
    ///
    /// It is made when nothing can fail any more, and what it replaces need not be dropped: so it is made in its place,
    /// and not moved there, which would take as long as reading it.
    #[inline(always)]
    pub(super) fn put_single(&mut self, node: NodeId, found: impl FnOnce() -> Found<'p>) {
        let here = self.places.at(node);
        if !here.children.is_empty() || here.array.is_some() {
            self.forget_within(node);
        }
        if let Some(place) = here.place {
            let place = &mut self.found[place as usize];
            if place.is_there() {
                *place = Found::MISSING;
            }
            std::mem::forget(std::mem::replace(place, found()));
        }
    }

    /// `found` stands at `node`.
    pub(super) fn put(&mut self, node: NodeId, found: Found<'p>) {
        if let Some(place) = self.places.at(node).place {
            self.found[place as usize] = found;
        }
    }

    /// An object of these members stands at `node`.
    pub(super) fn put_object(&mut self, node: NodeId, members: impl FnOnce() -> serde_json::Map<String, Tree>) {
        match self.places.at(node).whole {
            true => self.put(node, Found::Tree(Tree::Object(members()))),
            false => self.put(node, Found::Nested(OBJECT)),
        }
    }

    /// The array at `node` begins at `position`.
    pub(super) fn put_array(&mut self, node: NodeId, position: usize) {
        if let Some(array) = self.places.at(node).array {
            self.arrays[array as usize] = position;
        }
    }

    /// What was found within `node` stands there no more. The root is met once.
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
