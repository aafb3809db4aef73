//! What Firn does on Kubernetes, from `helm install` to `firn verify`: a whole cluster with the chart, whose nodes run the pods as confined
//! processes, real coordinators, operators, agents and ranks. Each story prints its figures.
//!
//! One cluster serves all; a story that breaks a part of it mends it.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod certificates;
mod coordinator;
mod deletion;
mod hindrances;
mod installation;
mod kueue;
mod losses;
mod mutual_tls;
mod namespaces;
mod queued;
mod queues;
mod release;
mod restored;
mod rotation;
mod secrets;
mod told_to_go;
mod training;
mod wishes;
