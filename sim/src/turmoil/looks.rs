//! What clients see of a front besides the value of a key, and what becomes of every answer: it goes to the model.

use synap_core::position::Position;

use super::clients::{Client, End, FRONT_TELLS, no_answer};
use super::http::Answered;
use super::requests;
use super::world::now_us;
use crate::model::{Fronted, Look, Question};
use crate::oracle::Fact;
use crate::trace::Answer;

impl Client {
    /// What the front answered is compared with what the model gives.
    pub(super) fn fronted(
        &self,
        node: usize,
        at: Position,
        question: Question,
        answered: &Answered,
        (asked_at, linearizable): (u64, bool),
    ) {
        let answer = Fronted {
            question,
            status: answered.status,
            body: answered.body.clone(),
            version: answered.version(),
            replayed: answered.is_replayed(),
        };
        self.see(&Fact::Fronted { node, at, answer: &answer, asked_at, linearizable });
    }

    pub(super) async fn look(&mut self, node: usize, look: &Look) -> End {
        let asked_at = now_us();
        let call = requests::look(look, self.world.plan.workload.timeout_ms);
        let answered = match self.caller.call(node, call, self.patience()).await {
            Ok(answered) => answered,
            Err(why) => return no_answer(why),
        };
        let text = format!("{} at {:?}", answered.status, answered.position());
        if !matches!(answered.status, 200 | 404) {
            return End { answer: Answer::Refused, text };
        }
        if let Some(applied) = self.stood_at(node, &answered) {
            self.fronted(node, applied, Question::Look(look.clone()), &answered, (asked_at, false));
            self.world.observations().tally.reads += 1;
        }
        End { answer: Answer::Done, text }
    }

    /// The state that a front says to have answered from.
    pub(super) fn stood_at(&self, node: usize, answered: &Answered) -> Option<Position> {
        let told = answered.position();
        let mut observations = self.world.observations();
        let applied = told.as_ref().and_then(|told| observations.nodes[node].applied.get(told).copied());
        if applied.is_none() {
            let cause = format!("n{node} reads at {told:?}, where its core never stood");
            observations.violated(FRONT_TELLS, now_us(), cause);
        }
        applied
    }
}
