"""The checks that ship. Adding one: a file, a line here, a test."""

import inspect
import sys
from typing import Final, Generic, Protocol, TypeVar

from core.model.finding import Dimension
from detector.checks.announced_call import AnnouncedCall, AnnouncedCallConfig
from detector.checks.call_loop import CallLoop, CallLoopConfig
from detector.checks.canned_answer import CannedAnswer, CannedAnswerConfig
from detector.checks.content_filter import ContentFilter, ContentFilterConfig
from detector.checks.context_growth import ContextGrowth, ContextGrowthConfig
from detector.checks.empty_output import EmptyOutput, EmptyOutputConfig
from detector.checks.failed_span import FailedSpan, FailedSpanConfig
from detector.checks.guardrail_tripped import GuardrailTripped, GuardrailTrippedConfig
from detector.checks.incomplete_stream import IncompleteStream, IncompleteStreamConfig
from detector.checks.invalid_tool_arguments import InvalidToolArguments, InvalidToolArgumentsConfig
from detector.checks.language_mismatch import LanguageMismatch, LanguageMismatchConfig
from detector.checks.low_scored_documents import LowScoredDocuments, LowScoredDocumentsConfig
from detector.checks.missing_root import MissingRoot, MissingRootConfig
from detector.checks.negative_feedback import NegativeFeedback, NegativeFeedbackConfig
from detector.checks.output_cut import OutputCut, OutputCutConfig
from detector.checks.output_schema import OutputSchema, OutputSchemaConfig
from detector.checks.pii_in_output import PiiInOutput, PiiInOutputConfig
from detector.checks.port import Check, CheckConfig, Need, needs_of
from detector.checks.prompt_injection import PromptInjection, PromptInjectionConfig
from detector.checks.refusal import Refusal, RefusalConfig
from detector.checks.repeated_tool_call import RepeatedToolCall, RepeatedToolCallConfig
from detector.checks.retries import Retries, RetriesConfig
from detector.checks.runaway_trace import RunawayTrace, RunawayTraceConfig
from detector.checks.secrets_in_output import SecretsInOutput, SecretsInOutputConfig
from detector.checks.sent_to_third_party import SentToThirdParty, SentToThirdPartyConfig
from detector.checks.sequential_calls import SequentialCalls, SequentialCallsConfig
from detector.checks.similar_calls import SimilarCalls, SimilarCallsConfig
from detector.checks.skipped_plan import SkippedPlan, SkippedPlanConfig
from detector.checks.slow_first_token import SlowFirstToken, SlowFirstTokenConfig
from detector.checks.step_limit import StepLimit, StepLimitConfig
from detector.checks.timeline_gap import TimelineGap, TimelineGapConfig
from detector.checks.tool_failure import ToolFailure, ToolFailureConfig
from detector.checks.unknown_tool import UnknownTool, UnknownToolConfig
from detector.checks.zero_documents import ZeroDocuments, ZeroDocumentsConfig

ConfigT = TypeVar("ConfigT", bound=CheckConfig, contravariant=True)


class CheckClass(Protocol[ConfigT]):
    """A class of checks: made from its configuration, named before it is made."""

    name: str
    dimension: Dimension
    __module__: str

    def __call__(self, config: ConfigT) -> Check:
        """Make the check."""
        ...


class DefaultCheck(Generic[ConfigT]):
    """A check that ships, with the model of its section in the configuration."""

    def __init__(self, check: CheckClass[ConfigT], config: type[ConfigT]) -> None:
        self.name = check.name
        self.dimension = check.dimension
        self.needs: tuple[Need, ...] = needs_of(check)
        self.declares_needs = hasattr(check, "needs")
        self.config = config
        self.summary = (sys.modules[check.__module__].__doc__ or "").strip()
        self.conditions = inspect.getdoc(check) or ""
        self._check = check

    def make(self, config: CheckConfig) -> Check:
        """Make the check from its section. Raises TypeError for the section of another check."""
        if not isinstance(config, self.config):
            raise TypeError(f"check {self.name} takes {self.config.__name__}, not {type(config).__name__}")
        return self._check(config)


DEFAULT_CHECKS: Final = (
    DefaultCheck(FailedSpan, FailedSpanConfig),
    DefaultCheck(ToolFailure, ToolFailureConfig),
    DefaultCheck(InvalidToolArguments, InvalidToolArgumentsConfig),
    DefaultCheck(UnknownTool, UnknownToolConfig),
    DefaultCheck(OutputSchema, OutputSchemaConfig),
    DefaultCheck(RepeatedToolCall, RepeatedToolCallConfig),
    DefaultCheck(SimilarCalls, SimilarCallsConfig),
    DefaultCheck(AnnouncedCall, AnnouncedCallConfig),
    DefaultCheck(SkippedPlan, SkippedPlanConfig),
    DefaultCheck(CallLoop, CallLoopConfig),
    DefaultCheck(StepLimit, StepLimitConfig),
    DefaultCheck(OutputCut, OutputCutConfig),
    DefaultCheck(ContentFilter, ContentFilterConfig),
    DefaultCheck(EmptyOutput, EmptyOutputConfig),
    DefaultCheck(MissingRoot, MissingRootConfig),
    DefaultCheck(GuardrailTripped, GuardrailTrippedConfig),
    DefaultCheck(IncompleteStream, IncompleteStreamConfig),
    DefaultCheck(LowScoredDocuments, LowScoredDocumentsConfig),
    DefaultCheck(Retries, RetriesConfig),
    DefaultCheck(RunawayTrace, RunawayTraceConfig),
    DefaultCheck(ContextGrowth, ContextGrowthConfig),
    DefaultCheck(TimelineGap, TimelineGapConfig),
    DefaultCheck(SequentialCalls, SequentialCallsConfig),
    DefaultCheck(SlowFirstToken, SlowFirstTokenConfig),
    DefaultCheck(ZeroDocuments, ZeroDocumentsConfig),
    DefaultCheck(Refusal, RefusalConfig),
    DefaultCheck(PiiInOutput, PiiInOutputConfig),
    DefaultCheck(SecretsInOutput, SecretsInOutputConfig),
    DefaultCheck(SentToThirdParty, SentToThirdPartyConfig),
    DefaultCheck(PromptInjection, PromptInjectionConfig),
    DefaultCheck(NegativeFeedback, NegativeFeedbackConfig),
    DefaultCheck(LanguageMismatch, LanguageMismatchConfig),
    DefaultCheck(CannedAnswer, CannedAnswerConfig),
)
