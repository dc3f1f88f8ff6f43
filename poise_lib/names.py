"""Every name that crosses a process or an object boundary: API group, labels, annotations, conditions, reasons."""

from __future__ import annotations

from typing import Final

GROUP: Final = "poise.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "poise.dev/v1alpha1"

LABEL_SEARCH: Final = f"{GROUP}/search"
LABEL_CANDIDATE: Final = f"{GROUP}/candidate"
LABEL_ROUND: Final = f"{GROUP}/round"
LABEL_FIDELITY: Final = f"{GROUP}/fidelity"

LABEL_TASK_KIND: Final = f"{GROUP}/task-kind"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "poise"

ANNOTATION_TASK: Final = f"{GROUP}/task"
"""The task's whole name; the Job's own may be shortened."""
ANNOTATION_INPUT: Final = f"{GROUP}/input"
ANNOTATION_TOKEN: Final = f"{GROUP}/attempt-token"
"""What a result frame of this attempt must carry."""
ANNOTATION_OUTCOME: Final = f"{GROUP}/outcome"
ANNOTATION_PROBLEM: Final = f"{GROUP}/problem"
ANNOTATION_SECONDS: Final = f"{GROUP}/seconds"
"""How long the containers of an attempt without a result ran."""

ANNOTATION_RETRY: Final = f"{GROUP}/retry"
"""On a Search: any new value has the language model checked anew, after its key was mended, and has it tried again what the
machine kept from being trained or scored.  An Evaluation keeps the value that it was last tried again for."""

ANNOTATION_IMPORT: Final = f"{GROUP}/import"
"""On a Search that is being imported, the digest of what is imported: everything is there but its own status and what
``spec.suspend`` was."""

ANNOTATION_PARENTS: Final = f"{GROUP}/parents"
"""Comma-separated parent names; with depth and utility enough to draw the tree from a metadata-only list."""
ANNOTATION_DEPTH: Final = f"{GROUP}/depth"
ANNOTATION_ROOT: Final = f"{GROUP}/root"
ANNOTATION_TITLE: Final = f"{GROUP}/title"
ANNOTATION_DIGEST: Final = f"{GROUP}/source-digest"
ANNOTATION_UTILITY: Final = f"{GROUP}/utility"

CONDITION_READY: Final = "Ready"
CONDITION_COMPLETE: Final = "Complete"
CONDITION_FAILED: Final = "Failed"
CONDITION_SUSPENDED: Final = "Suspended"
CONDITION_STALLED: Final = "Stalled"

REASON_RUNNING: Final = "Running"
REASON_SUSPENDED: Final = "Suspended"
REASON_TASKS_DO_NOT_START: Final = "TasksDoNotStart"
REASON_CANDIDATES_SPENT: Final = "CandidatesSpent"
REASON_PATIENCE_SPENT: Final = "PatienceSpent"
REASON_DEADLINE_REACHED: Final = "DeadlineReached"
REASON_GPU_BUDGET_SPENT: Final = "GPUBudgetSpent"
REASON_BASELINE_FAILED: Final = "BaselineFailed"
REASON_NO_PROPOSALS: Final = "NoProposals"
REASON_TASK_FAILED: Final = "TaskFailed"
REASON_UNKNOWN_ALGORITHM: Final = "UnknownAlgorithm"
REASON_SOURCE_TOO_LARGE: Final = "SourceTooLarge"
REASON_VERIFICATION_FAILED: Final = "VerificationFailed"
REASON_DUPLICATE: Final = "Duplicate"
REASON_TRAINING_FAILED: Final = "TrainingFailed"
REASON_COLLAPSED: Final = "Collapsed"
REASON_NON_FINITE: Final = "NonFinite"
REASON_KL_BLOW_UP: Final = "KLBlowUp"
REASON_ENTROPY_COLLAPSE: Final = "EntropyCollapse"
REASON_FORMAT_COLLAPSE: Final = "FormatCollapse"
REASON_HOPELESS: Final = "Hopeless"
EARLY_STOPS: Final = frozenset(
    {
        REASON_NON_FINITE,
        REASON_KL_BLOW_UP,
        REASON_ENTROPY_COLLAPSE,
        REASON_FORMAT_COLLAPSE,
        REASON_HOPELESS,
    }
)
"""What :mod:`poise_lib.evaluation.stopping` ends a training run for."""
REASON_SCORING_FAILED: Final = "ScoringFailed"
REASON_TIME_LIMIT_REACHED: Final = "TimeLimitReached"
REASON_ENGINE_MISSING: Final = "EngineMissing"
"""What trains or scores is not installed, or of a version that was not tested."""
REASON_MODEL_MISSING: Final = "ModelMissing"
REASON_DATA_INVALID: Final = "DataInvalid"
"""Training data or benchmark problems are missing, or are not what the settings say."""
REASON_GPU_MISSING: Final = "GPUMissing"
REASON_GPU_TOO_SMALL: Final = "GPUTooSmall"
REASON_SETTINGS_INVALID: Final = "SettingsInvalid"
"""VeRL does not take an override, or the values do not go together."""
ENGINE_UNUSABLE: Final = frozenset(
    {
        REASON_ENGINE_MISSING,
        REASON_MODEL_MISSING,
        REASON_DATA_INVALID,
        REASON_GPU_MISSING,
        REASON_GPU_TOO_SMALL,
        REASON_SETTINGS_INVALID,
    }
)
"""What keeps every candidate from being trained or scored, and no candidate is to blame for."""
REASON_EVALUATION_FAILED: Final = "EvaluationFailed"
REASON_LITERATURE_INVALID: Final = "LiteratureInvalid"
REASON_LLM_FAILED: Final = "LLMFailed"
REASON_LLM_WRONG_KEY: Final = "LLMWrongKey"
REASON_LLM_UNKNOWN_MODEL: Final = "LLMUnknownModel"
REASON_LLM_WRONG_ENDPOINT: Final = "LLMWrongEndpoint"
REASON_LLM_UNREACHABLE: Final = "LLMUnreachable"
REASON_LLM_OVERLOADED: Final = "LLMOverloaded"
REASON_LLM_SERVER_FAILED: Final = "LLMServerFailed"
REASON_LLM_QUOTA_SPENT: Final = "LLMQuotaSpent"
REASON_LLM_REQUEST_REFUSED: Final = "LLMRequestRefused"
REASON_LLM_PROMPT_TOO_LONG: Final = "LLMPromptTooLong"
REASON_LLM_CANNOT_FOLLOW_SCHEMA: Final = "LLMCannotFollowSchema"
REASON_LLM_REFUSED: Final = "LLMRefused"
REASON_LLM_ALLOTMENT_SPENT: Final = "LLMAllotmentSpent"
REASON_LLM_PRICE_UNKNOWN: Final = "LLMPriceUnknown"
REASON_LLM_BUDGET_SPENT: Final = "LLMBudgetSpent"
LLM_UNUSABLE: Final = frozenset(
    {
        REASON_LLM_WRONG_KEY,
        REASON_LLM_UNKNOWN_MODEL,
        REASON_LLM_WRONG_ENDPOINT,
        REASON_LLM_UNREACHABLE,
        REASON_LLM_QUOTA_SPENT,
        REASON_LLM_REQUEST_REFUSED,
        REASON_LLM_PRICE_UNKNOWN,
    }
)
"""What keeps a model from being used at all: ``proposer.llm.onFailure`` says what then."""

METRIC_OVERALL: Final = "overall"
METRIC_RESPONSE_LENGTH: Final = "response_length"
METRIC_FORMAT_VALID: Final = "format_valid"

COUNT_VARIABLE: Final = "POISE_NODES"
"""In the environment of each pod of several that train together: how many they are, which one it is, where the first one is."""
RANK_VARIABLE: Final = "POISE_NODE_RANK"
HEAD_VARIABLE: Final = "POISE_HEAD"
