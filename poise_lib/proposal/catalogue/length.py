"""Length shaping: signals from response length, always relative and mostly within correct responses.  Signal [B]."""

from __future__ import annotations

from poise_lib.algorithms.contract import Family
from poise_lib.proposal.grammar import Code, Fact, Kind, Parameter, Slot

KINDS = (
    Kind(
        name="length-attenuation",
        slot=Slot.LENGTH,
        family=Family.LENGTH_SHAPING,
        label="length-attenuated negatives",
        claim="A long valid attempt that failed is punished less than a short one: working is not unlearnt.",
        effect="response length does not shrink while accuracy is low",
        formula="A := A / clip(L / mean L of the valid, 0.5, 2)^attenuation where A < 0 and valid",
        code=Code(
            signal="signal = attenuate_long_failures(signal, batch, hyper)",
            helpers=(
                '''\
def attenuate_long_failures(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Divide negative signals of valid responses by their relative length; [B]."""
    length = batch.length.float()
    usual = ops.group_mean(length, batch.group, batch.valid).clamp(min=1.0)
    relative = (length / usual).clamp(0.5, 2.0) ** hyper["attenuation"]
    return torch.where((signal < 0) & batch.valid, signal / relative, signal)''',
            ),
        ),
        parameters=(Parameter("attenuation", 1.0, 0.2, 2.0, "power of the relative length", log=True),),
        pull="longer",
        switch="attenuation",
        conflicts=frozenset({"length-power-law"}),
        source="arXiv:2603.23951, VM-AV",
    ),
    Kind(
        name="length-power-law",
        slot=Slot.LENGTH,
        family=Family.LENGTH_SHAPING,
        label="length power law",
        claim="Long successes weigh more and long failures less, which favours thorough working.",
        effect="responses grow where growing pays",
        formula="A := A * (L / mean L)^(length_power * sign A)",
        code=Code(
            signal="signal = weigh_by_length(signal, batch, hyper)",
            helpers=(
                '''\
def weigh_by_length(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Scale each signal by a power of its relative length, inverted for negative signals; [B]."""
    length = batch.length.float()
    relative = (length / ops.group_mean(length, batch.group).clamp(min=1.0)).clamp(0.25, 4.0)
    return signal * relative ** (hyper["length_power"] * torch.sign(signal))''',
            ),
        ),
        parameters=(Parameter("length_power", 0.3, 0.05, 1.0, "power of the relative length", log=True),),
        pull="longer",
        switch="length_power",
        source="arXiv:2603.23951, MSA",
    ),
    Kind(
        name="efficiency-stream",
        slot=Slot.LENGTH,
        family=Family.LENGTH_SHAPING,
        label="efficiency stream",
        claim="Correct responses compete on length among themselves, the more so the easier the prompt.",
        effect="responses get shorter where prompts are solved, at equal accuracy",
        formula="A := A + efficiency_weight * pass rate * z(-L within correct) where correct",
        code=Code(
            signal="signal = signal + efficiency(batch, hyper)",
            helpers=(
                '''\
def efficiency(batch: Batch, hyper: Hyper) -> Tensor:
    """Standardised shortness among the correct responses of a group, times its pass rate; [B]."""
    shortness = ops.group_standardised(-batch.length.float(), batch.group, batch.correct, eps_inside=1e-6)
    pass_rate = ops.group_mean(batch.correct.float(), batch.group)
    return {efficiency_weight} * pass_rate * shortness''',
            ),
        ),
        parameters=(Parameter("efficiency_weight", 0.2, 0.02, 1.0, "weight of the efficiency stream", log=True),),
        pull="shorter",
        switch="efficiency_weight",
        provides=frozenset({Fact.SOLVED_SIGNAL, Fact.EFFICIENCY_TERM}),
        conflicts=frozenset({"overlength-cost", "length-index", "length-power-law"}),
        source="arXiv:2603.23951, DACE",
    ),
    Kind(
        name="overlength-cost",
        slot=Slot.LENGTH,
        family=Family.LENGTH_SHAPING,
        label="one-sided overlength cost",
        claim="A correct response pays for being longer than its correct siblings; being terse gains nothing.",
        effect="the longest correct responses get shorter and accuracy holds",
        formula="A := A + efficiency_weight * (pass rate)^2 * min((mu_L - L) / mu_L, 0) where correct",
        code=Code(
            signal="signal = signal - overlength_cost(batch, hyper)",
            helpers=(
                '''\
def overlength_cost(batch: Batch, hyper: Hyper) -> Tensor:
    """Relative excess over the mean length of the group's correct responses, gated by its success; [B]."""
    length = batch.length.float()
    usual = ops.group_mean(length, batch.group, batch.correct).clamp(min=1.0)
    excess = ((length - usual) / usual).clamp(0.0, 4.0) * batch.correct.float()
    pass_rate = ops.group_mean(batch.correct.float(), batch.group)
    return {efficiency_weight} * pass_rate * pass_rate * excess''',
            ),
        ),
        parameters=(Parameter("efficiency_weight", 0.5, 0.05, 2.0, "weight of the overlength cost", log=True),),
        pull="shorter",
        switch="efficiency_weight",
        provides=frozenset({Fact.SOLVED_SIGNAL, Fact.EFFICIENCY_TERM}),
        conflicts=frozenset({"length-index", "length-power-law"}),
        source="arXiv:2603.23951, CAG",
    ),
    Kind(
        name="length-index",
        slot=Slot.LENGTH,
        family=Family.LENGTH_SHAPING,
        label="relative-length index",
        claim="A correct response gains or loses by its length relative to its correct siblings.",
        effect="length falls quickly, at some risk to accuracy",
        formula="A := A + efficiency_weight * (pass rate)^2 * (mu_L - L) / mu_L where correct",
        code=Code(
            signal="signal = signal + length_index(batch, hyper)",
            helpers=(
                '''\
def length_index(batch: Batch, hyper: Hyper) -> Tensor:
    """Relative shortness against the mean of the group's correct responses, gated by its success; [B]."""
    length = batch.length.float()
    usual = ops.group_mean(length, batch.group, batch.correct).clamp(min=1.0)
    index = ((usual - length) / usual).clamp(-4.0, 1.0) * batch.correct.float()
    pass_rate = ops.group_mean(batch.correct.float(), batch.group)
    return {efficiency_weight} * pass_rate * pass_rate * index''',
            ),
        ),
        parameters=(Parameter("efficiency_weight", 0.3, 0.05, 2.0, "weight of the index", log=True),),
        pull="shorter",
        switch="efficiency_weight",
        provides=frozenset({Fact.SOLVED_SIGNAL, Fact.EFFICIENCY_TERM}),
        conflicts=frozenset({"length-power-law"}),
        source="arXiv:2603.23951, DCBE",
    ),
    Kind(
        name="length-equaliser",
        slot=Slot.LENGTH,
        family=Family.LENGTH_SHAPING,
        label="length equaliser",
        claim="Long responses hold more of the update; each response is brought towards equal weight.",
        effect="long failures dominate the update less",
        formula="A := A * clip(mean L of the batch / L, 0.25, 4)^equalise",
        code=Code(
            signal="""\
length = batch.length.float().clamp(min=1.0)
signal = signal * (length.mean() / length).clamp(0.25, 4.0) ** hyper["equalise"]"""
        ),
        parameters=(Parameter("equalise", 0.5, 0.1, 1.0, "1 gives every response the same weight"),),
        switch="equalise",
        conflicts=frozenset({"length-power-law"}),
        source="after arXiv:2503.20783",
    ),
)
