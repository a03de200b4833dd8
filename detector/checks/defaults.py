"""The checks that ship. Adding one: a file, a line here, a test."""

from typing import Final

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
from detector.checks.prompt_injection import PromptInjection, PromptInjectionConfig
from detector.checks.refusal import Refusal, RefusalConfig
from detector.checks.repeated_tool_call import RepeatedToolCall, RepeatedToolCallConfig
from detector.checks.retries import Retries, RetriesConfig
from detector.checks.runaway_trace import RunawayTrace, RunawayTraceConfig
from detector.checks.secrets_in_output import SecretsInOutput, SecretsInOutputConfig
from detector.checks.sent_to_third_party import SentToThirdParty, SentToThirdPartyConfig
from detector.checks.sequential_calls import SequentialCalls, SequentialCallsConfig
from detector.checks.shipped import ShippedCheck
from detector.checks.similar_calls import SimilarCalls, SimilarCallsConfig
from detector.checks.skipped_plan import SkippedPlan, SkippedPlanConfig
from detector.checks.slow_first_token import SlowFirstToken, SlowFirstTokenConfig
from detector.checks.step_limit import StepLimit, StepLimitConfig
from detector.checks.timeline_gap import TimelineGap, TimelineGapConfig
from detector.checks.tool_failure import ToolFailure, ToolFailureConfig
from detector.checks.unknown_tool import UnknownTool, UnknownToolConfig
from detector.checks.zero_documents import ZeroDocuments, ZeroDocumentsConfig

DEFAULT_CHECKS: Final = (
    ShippedCheck(FailedSpan, FailedSpanConfig),
    ShippedCheck(ToolFailure, ToolFailureConfig),
    ShippedCheck(InvalidToolArguments, InvalidToolArgumentsConfig),
    ShippedCheck(UnknownTool, UnknownToolConfig),
    ShippedCheck(OutputSchema, OutputSchemaConfig),
    ShippedCheck(RepeatedToolCall, RepeatedToolCallConfig),
    ShippedCheck(SimilarCalls, SimilarCallsConfig),
    ShippedCheck(AnnouncedCall, AnnouncedCallConfig),
    ShippedCheck(SkippedPlan, SkippedPlanConfig),
    ShippedCheck(CallLoop, CallLoopConfig),
    ShippedCheck(StepLimit, StepLimitConfig),
    ShippedCheck(OutputCut, OutputCutConfig),
    ShippedCheck(ContentFilter, ContentFilterConfig),
    ShippedCheck(EmptyOutput, EmptyOutputConfig),
    ShippedCheck(MissingRoot, MissingRootConfig),
    ShippedCheck(GuardrailTripped, GuardrailTrippedConfig),
    ShippedCheck(IncompleteStream, IncompleteStreamConfig),
    ShippedCheck(LowScoredDocuments, LowScoredDocumentsConfig),
    ShippedCheck(Retries, RetriesConfig),
    ShippedCheck(RunawayTrace, RunawayTraceConfig),
    ShippedCheck(ContextGrowth, ContextGrowthConfig),
    ShippedCheck(TimelineGap, TimelineGapConfig),
    ShippedCheck(SequentialCalls, SequentialCallsConfig),
    ShippedCheck(SlowFirstToken, SlowFirstTokenConfig),
    ShippedCheck(ZeroDocuments, ZeroDocumentsConfig),
    ShippedCheck(Refusal, RefusalConfig),
    ShippedCheck(PiiInOutput, PiiInOutputConfig),
    ShippedCheck(SecretsInOutput, SecretsInOutputConfig),
    ShippedCheck(SentToThirdParty, SentToThirdPartyConfig),
    ShippedCheck(PromptInjection, PromptInjectionConfig),
    ShippedCheck(NegativeFeedback, NegativeFeedbackConfig),
    ShippedCheck(LanguageMismatch, LanguageMismatchConfig),
    ShippedCheck(CannedAnswer, CannedAnswerConfig),
)
