//! Place tokens and passes, as nodes sign them and others are shown them.

use std::sync::Arc;

use rand::Rng;

use crate::domain::ids::{PlaceKey, RoomId};
use crate::domain::place::Standing;
use crate::domain::time::UnixMs;
use crate::fanout::event::Turn;
use crate::keys::pass::PassClaims;
use crate::keys::place::PlaceClaims;
use crate::keys::{Keys, TokenError};

use super::super::keys::{ROTATION_LEAD_MS, ROTATIONS_MAX};
use super::super::plant::Plant;
use super::super::stream::Stream;
use super::{CLIENTS, NODES, Token, World, user_of};

impl World {
    /// The place that a client's own token names, as a node reads it.
    pub(in crate::sim) fn read_token(&mut self, client: usize, node: usize) -> Option<PlaceKey> {
        let state = &self.clients[client];
        let token = state.token.as_ref()?;
        let read = self.nodes[node]
            .keys
            .places
            .verify(&token.text, &state.user);
        match read {
            Ok(claims) => {
                let is_same = claims.place == token.place && claims.room == self.setup.room;
                self.oracle.check(is_same, "Q15", || {
                    format!("a token of {:?} is read as {:?}", token.place, claims.place)
                });
                Some(claims.place)
            }
            Err(error) => {
                self.oracle
                    .report("Q15", &format!("a good token is refused: {error}"));
                None
            }
        }
    }

    /// A node signs the token of a place, unless the client has it.
    pub(in crate::sim) fn give_token(&mut self, client: usize, node: usize, place: PlaceKey) {
        if self.clients[client].place() == Some(place) {
            return;
        }
        let text = self.nodes[node].keys.places.sign(&PlaceClaims {
            room: self.setup.room.clone(),
            place,
            user: self.clients[client].user.clone(),
            issued_at: self.now,
        });
        let state = &mut self.clients[client];
        state.token = Some(Token { text, place });
        state.told = super::Told::default();
    }

    /// A token that must be refused, or says nothing about this room.
    pub(in crate::sim) fn present_bad_token(&mut self, client: usize, node: usize) {
        let Some(token) = self.clients[client].token.clone() else {
            return;
        };
        let user = self.clients[client].user.clone();
        let places = &self.nodes[node].keys.places;
        match self.rng.random_range(0..3) {
            0 => {
                self.coverage.count("token: altered");
                let text = altered(&token.text, self.rng.random_range(0..token.text.len()));
                let mut read = places.verify(&text, &user);
                if self.plant == Some(Plant::AlteredTokenAccepted) {
                    read = crate::keys::place::read_unproven(&text);
                }
                let is_refused = matches!(read, Err(TokenError::Invalid(_)));
                self.oracle.check(is_refused, "Q15", || {
                    format!("an altered token is read as {read:?}")
                });
            }
            1 => {
                self.coverage.count("token: of another user");
                let other = (client + self.rng.random_range(2..CLIENTS - 2)) % CLIENTS;
                let thief = self.clients[other].user.clone();
                let claimed = match self.plant {
                    Some(Plant::TokenOfAnotherUser) => &user,
                    _ => &thief,
                };
                let read = places.verify(&token.text, claimed);
                let is_told =
                    user_of(other) == user_of(client) || matches!(read, Err(TokenError::OtherUser));
                self.oracle.check(is_told, "Q15", || {
                    format!("the token of {user} is read for {thief}: {read:?}")
                });
            }
            _ => self.join_with_token_of_another_room(client, node),
        }
    }

    /// It is well signed, and says nothing about this room.
    fn join_with_token_of_another_room(&mut self, client: usize, node: usize) {
        self.coverage.count("token: of another room");
        let keys = Arc::clone(&self.nodes[node].keys);
        let user = self.clients[client].user.clone();
        let room = RoomId::parse("another").expect("a valid id");
        let place = PlaceKey { lane: 0, number: 1 };
        let text = keys.places.sign(&PlaceClaims {
            room,
            place,
            user: user.clone(),
            issued_at: self.now,
        });
        let read = keys.places.verify(&text, &user);
        let presented = read.ok().filter(|claims| claims.room == self.setup.room);
        self.oracle.check(presented.is_none(), "Q15", || {
            "a token is taken for one of another room".to_owned()
        });
        self.join(client, node);
    }

    /// A turn as a stream tells it. Its pass is good on every node.
    pub(in crate::sim) fn turn_told(&mut self, stream: &Stream, turn: &Turn) -> Standing {
        let id = turn.activation_id;
        match (turn.expire_time, turn.claim_by) {
            (Some(expire_time), _) => {
                let pass = turn.pass.clone().unwrap_or_default();
                self.check_pass(stream.client, &pass, id, expire_time);
                Standing::Active {
                    id,
                    claimed_at: turn.claimed_at.unwrap_or_default(),
                    expire_time,
                }
            }
            (None, claim_by) => Standing::Activated {
                id,
                claim_by: claim_by.unwrap_or_default(),
            },
        }
    }

    /// The pass that the answer to a claim carries: a function of the row.
    pub(in crate::sim) fn pass_of_claim(&mut self, client: usize, node: usize, standing: Standing) {
        let Standing::Active {
            id,
            claimed_at,
            expire_time,
        } = standing
        else {
            return;
        };
        let claims = PassClaims {
            user: self.clients[client].user.clone(),
            room: self.setup.room.clone(),
            activation: id,
            issued_at: claimed_at,
            expire_time,
        };
        let pass = self.nodes[node].keys.passes.sign(&claims).into();
        self.check_pass(client, &pass, id, expire_time);
    }

    fn check_pass(
        &mut self,
        client: usize,
        pass: &Arc<str>,
        id: crate::domain::ids::ActivationId,
        expire_time: UnixMs,
    ) {
        let shown_to = self.rng.random_range(0..NODES);
        let keys: &Keys = &self.nodes[shown_to].keys;
        let state = &mut self.clients[client];
        state.pass = Some((id, Arc::clone(pass)));
        self.coverage.count("token: pass shown");
        match keys.passes.read(pass, &state.user) {
            Ok(claims) => {
                let is_true = claims.activation == id
                    && claims.room == self.setup.room
                    && claims.expire_time.0 / 1_000 == expire_time.0 / 1_000;
                self.oracle.check(is_true, "Q15", || {
                    format!("the pass of {id} says {claims:?}")
                });
                self.oracle.pass_told(&claims);
            }
            Err(error) => self
                .oracle
                .report("Q15", &format!("a good pass is refused: {error}")),
        }
        let stranger = &self.clients[(client + 2) % CLIENTS].user;
        let read = self.nodes[shown_to].keys.passes.read(pass, stranger);
        self.oracle
            .check(read == Err(TokenError::OtherUser), "Q15", || {
                format!("{stranger} is let in by the pass of {id}")
            });
    }

    /// Every node gets the new key at once, and signs with it later.
    pub(in crate::sim) fn rotate_keys(&mut self) {
        if self.rotations < ROTATIONS_MAX {
            self.rotations += 1;
            self.signs_from = self.now.plus_ms(ROTATION_LEAD_MS);
            self.coverage.count("command: rotate keys");
            for node in 0..NODES {
                self.load_keys(node);
            }
        }
    }

    /// A node reads the ring again: by now it may sign with the newest key.
    pub(in crate::sim) fn load_keys(&mut self, node: usize) {
        self.nodes[node].keys = self.newest_keys();
    }

    pub(in crate::sim) fn newest_keys(&self) -> Arc<Keys> {
        let signs = self.now >= self.signs_from;
        self.setup.keys.of(self.rotations, signs)
    }
}

/// The text with another character of the alphabet at `at`.
fn altered(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8_lossy(&bytes).into_owned()
}
