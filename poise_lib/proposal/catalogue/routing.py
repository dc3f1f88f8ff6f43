"""Routing: which groups and samples get how much of the signal.  Each rebinds ``signal`` [B]."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Fact, Kind, Parameter, Slot

KINDS = (
    Kind(
        name="mixed-only",
        slot=Slot.ROUTING,
        family=Family.ROUTING,
        label="mixed-group routing",
        claim="Groups with both outcomes carry the comparison; uniform ones are turned down to a fraction.",
        effect="updates come from undecided prompts",
        formula="A := uniform_scale * A in groups that are all correct or all wrong",
        code=Code(
            signal="signal = turn_down_uniform(signal, batch, hyper)",
            helpers=(
                '''\
def turn_down_uniform(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Scale the signal of all-correct and all-fail groups by ``uniform_scale``; [B]."""
    pass_rate = ops.group_mean(batch.correct.float(), batch.group)
    uniform = (pass_rate == 0.0) | (pass_rate == 1.0)
    return torch.where(uniform, hyper["uniform_scale"] * signal, signal)''',
            ),
        ),
        parameters=(Parameter("uniform_scale", 0.25, 0.0, 0.75, "share of the signal that uniform groups keep"),),
        switch="uniform_scale",
        off=1.0,
        any_of=frozenset({Fact.FAIL_SIGNAL, Fact.SOLVED_SIGNAL}),
        conflicts=frozenset({"silence-solved", "silence-failed", "regime-penalties"}),
        source="arXiv:2603.23951, PR and MSA",
    ),
    Kind(
        name="silence-solved",
        slot=Slot.ROUTING,
        family=Family.ROUTING,
        label="silenced solved groups",
        claim="A solved prompt has nothing left to teach; its signal is turned down before it turns into drift.",
        effect="entropy falls more slowly once prompts are solved",
        formula="A := solved_scale * A in all-correct groups",
        code=Code(
            signal="signal = turn_down_solved(signal, batch, hyper)",
            helpers=(
                '''\
def turn_down_solved(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Scale the signal of all-correct groups by ``solved_scale``; [B]."""
    solved = ops.group_mean(batch.correct.float(), batch.group) == 1.0
    return torch.where(solved, hyper["solved_scale"] * signal, signal)''',
            ),
        ),
        parameters=(Parameter("solved_scale", 0.1, 0.0, 0.7, "share of the signal that solved groups keep"),),
        switch="solved_scale",
        off=1.0,
        requires=frozenset({Fact.SOLVED_SIGNAL}),
        source="arXiv:2603.23951, PR",
    ),
    Kind(
        name="silence-failed",
        slot=Slot.ROUTING,
        family=Family.FAILURE_CONTROL,
        label="silenced failed groups",
        claim="Where nothing succeeded, pushing away from every sample is mostly noise; that signal is turned down.",
        effect="fewer destructive updates early in training",
        formula="A := failed_scale * A in all-fail groups",
        code=Code(
            signal="signal = turn_down_failed(signal, batch, hyper)",
            helpers=(
                '''\
def turn_down_failed(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Scale the signal of all-fail groups by ``failed_scale``; [B]."""
    failed = ops.group_sum(batch.correct.float(), batch.group) == 0.0
    return torch.where(failed, hyper["failed_scale"] * signal, signal)''',
            ),
        ),
        parameters=(Parameter("failed_scale", 0.2, 0.0, 0.7, "share of the signal that all-fail groups keep"),),
        switch="failed_scale",
        off=1.0,
        requires=frozenset({Fact.FAIL_SIGNAL}),
        conflicts=frozenset({"regime-penalties"}),
    ),
    Kind(
        name="difficulty-weighting",
        slot=Slot.ROUTING,
        family=Family.ROUTING,
        label="difficulty weighting",
        claim="Hard prompts, which succeed rarely, get a larger share of the update.",
        effect="hard benchmarks gain more than easy ones",
        formula="A := A * (1 + difficulty_weight * (1 - pass rate))",
        code=Code(
            signal="signal = signal * difficulty(batch, hyper)",
            helpers=(
                '''\
def difficulty(batch: Batch, hyper: Hyper) -> Tensor:
    """Weight of each sample's group, larger where fewer responses are correct; [B]."""
    pass_rate = ops.group_mean(batch.correct.float(), batch.group)
    return 1.0 + {difficulty_weight} * (1.0 - pass_rate)''',
            ),
        ),
        parameters=(
            Parameter("difficulty_weight", 1.0, 0.2, 4.0, "extra weight of a prompt that always fails", log=True),
        ),
        switch="difficulty_weight",
        provides=frozenset({Fact.DIFFICULTY_TERM}),
        source="arXiv:2603.23951, DACE",
    ),
    Kind(
        name="frontier-weighting",
        slot=Slot.ROUTING,
        family=Family.ROUTING,
        label="frontier weighting",
        claim="Prompts that succeed about half the time are where most can be learnt; the update leans to them.",
        effect="the share of mixed groups lasts longer",
        formula="A := A * (4 p (1 - p))^frontier_focus for mixed groups with pass rate p",
        code=Code(
            signal="signal = signal * frontier(batch, hyper)",
            helpers=(
                '''\
def frontier(batch: Batch, hyper: Hyper) -> Tensor:
    """Weight of mixed groups, greatest at a pass rate of one half; uniform groups keep 1; [B]."""
    pass_rate = ops.group_mean(batch.correct.float(), batch.group)
    undecided = 4.0 * pass_rate * (1.0 - pass_rate)
    return torch.where(undecided > 0, undecided ** hyper["frontier_focus"], torch.ones_like(undecided))''',
            ),
        ),
        parameters=(Parameter("frontier_focus", 0.5, 0.1, 2.0, "how sharply the weight falls off", log=True),),
        switch="frontier_focus",
        conflicts=frozenset({"difficulty-weighting", "rare-success"}),
    ),
    Kind(
        name="rare-success",
        slot=Slot.ROUTING,
        family=Family.ROUTING,
        label="rare-success amplification",
        claim="The few successes of a hard prompt are amplified; its many failures are left alone.",
        effect="pass@k rises on the hardest benchmark",
        formula="A := A * (1 + rare_gain * (1 - pass rate)^2) where A > 0",
        code=Code(
            signal="signal = amplify_rare_success(signal, batch, hyper)",
            helpers=(
                '''\
def amplify_rare_success(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Raise positive signals, the more the rarer success is in their group; [B]."""
    failure_rate = 1.0 - ops.group_mean(batch.correct.float(), batch.group)
    gain = 1.0 + hyper["rare_gain"] * failure_rate * failure_rate
    return torch.where(signal > 0, gain * signal, signal)''',
            ),
        ),
        parameters=(Parameter("rare_gain", 1.0, 0.2, 4.0, "extra weight of a lone success", log=True),),
        switch="rare_gain",
        provides=frozenset({Fact.UNBALANCED}),
        conflicts=frozenset({"difficulty-weighting"}),
        source="arXiv:2603.23951, principle of rare successes",
    ),
    Kind(
        name="negative-damping",
        slot=Slot.ROUTING,
        family=Family.ROUTING,
        label="damped negatives",
        claim="Pushing away from a wrong response moves probability anywhere, so negatives count less.",
        effect="entropy stays up and format breaks less",
        formula="A := negative_scale * A where A < 0",
        code=Code(signal='signal = torch.where(signal < 0, hyper["negative_scale"] * signal, signal)'),
        parameters=(Parameter("negative_scale", 0.6, 0.1, 0.9, "share that negative signals keep"),),
        switch="negative_scale",
        off=1.0,
        source="after arXiv:2506.01347",
    ),
    Kind(
        name="sign-balance",
        slot=Slot.ROUTING,
        family=Family.ROUTING,
        label="balanced signs",
        claim="Positive and negative mass of the batch are brought to the same size, whatever the success rate.",
        effect="entropy neither collapses nor blows up as accuracy changes",
        formula="A := A * (sum |A+| / sum |A-|)^balance where A < 0",
        code=Code(
            signal="signal = balance_signs(signal, hyper)",
            helpers=(
                '''\
def balance_signs(signal: Tensor, hyper: Hyper) -> Tensor:
    """Scale negative signals so that their total approaches that of the positive ones; [B]."""
    positive = signal.clamp(min=0.0).sum()
    negative = (-signal).clamp(min=0.0).sum()
    ratio = ((positive + 1e-3) / (negative + 1e-3)).clamp(0.2, 5.0)
    return torch.where(signal < 0, signal * ratio ** hyper["balance"], signal)''',
            ),
        ),
        parameters=(Parameter("balance", 0.5, 0.1, 1.0, "1 balances the batch fully"),),
        switch="balance",
        # Where rewards are compared with their own mean, the two masses are equal already.
        requires=frozenset({Fact.UNBALANCED}),
        conflicts=frozenset({"negative-damping"}),
    ),
)
