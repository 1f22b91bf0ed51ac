//! The samples of one metric, in the order in which they were made: two answers can be compared line by line.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// Names and values of labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A sample for each set of labels. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Family<M> {
    make: fn() -> M,
    samples: Arc<Mutex<Samples<M>>>,
}

#[derive(Debug)]
struct Samples<M> {
    order: Vec<(Labels, M)>,
    /// Where each is.
    places: HashMap<Labels, usize>,
}

impl<M: Clone> Family<M> {
    pub(super) fn new(make: fn() -> M) -> Self {
        Self { make, samples: Arc::new(Mutex::new(Samples { order: Vec::new(), places: HashMap::new() })) }
    }

    /// That of these labels, made if there is none.
    pub(super) fn get_or_create(&self, labels: &Labels) -> M {
        let mut samples = self.lock();
        if let Some(place) = samples.places.get(labels) {
            return samples.order[*place].1.clone();
        }
        let (place, made) = (samples.order.len(), (self.make)());
        samples.places.insert(labels.clone(), place);
        samples.order.push((labels.clone(), made.clone()));
        made
    }

    fn lock(&self) -> MutexGuard<'_, Samples<M>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Clone + Default> Default for Family<M> {
    fn default() -> Self {
        Self::new(M::default)
    }
}

impl<M: Clone + EncodeMetric + TypedMetric> EncodeMetric for Family<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.lock().order.iter().try_for_each(|(labels, sample)| sample.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.lock().order.is_empty()
    }
}
