"""Hugging Face transformers, in tiny configurations with random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.registry import LARGE, of_library

transformers = of_library("transformers")

LABELS: dict[str, Any] = {"num_labels": 5}
CONV_FRONT = {"conv_dim": (18, 18, 22), "conv_kernel": (10, 8, 4), "conv_stride": (5, 4, 4)}
SPEECH: dict[str, Any] = {
    **CONV_FRONT,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 44,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 9,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
}
TEXT: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 44,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def _tokens(words: int = 31, length: int = 7) -> Tensor:
    return torch.randint(3, words, (2, length))


@transformers
def transformers_wav2vec2() -> tuple[nn.Module, Tensor]:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    return Wav2Vec2ForCTC(Wav2Vec2Config(**SPEECH)), torch.randn(2, 1600)


@transformers
def transformers_hubert() -> tuple[nn.Module, Tensor]:
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(**SPEECH, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
    return HubertModel(config), torch.randn(2, 1600)


@transformers
def transformers_wavlm() -> tuple[nn.Module, Tensor]:
    from transformers import WavLMConfig, WavLMModel

    return WavLMModel(WavLMConfig(**SPEECH, num_buckets=16, max_bucket_distance=32)), torch.randn(2, 1600)


@transformers
def transformers_wav2vec2_conformer() -> tuple[nn.Module, Tensor]:
    from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerModel

    config = Wav2Vec2ConformerConfig(**SPEECH, conv_depthwise_kernel_size=7, position_embeddings_type="relative")
    return Wav2Vec2ConformerModel(config), torch.randn(2, 1600)


@transformers
def transformers_whisper() -> tuple[nn.Module, dict[str, Tensor]]:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=31,
        num_mel_bins=10,
        d_model=24,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=44,
        decoder_ffn_dim=36,
        max_source_positions=12,
        max_target_positions=10,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        use_cache=False,
    )
    inputs = {"input_features": torch.randn(2, 10, 24), "decoder_input_ids": _tokens(31, 5)}
    return WhisperForConditionalGeneration(config), inputs


@transformers
def transformers_ast() -> tuple[nn.Module, Tensor]:
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=44,
        patch_size=6,
        frequency_stride=4,
        time_stride=4,
        max_length=22,
        num_mel_bins=14,
        **LABELS,
    )
    return ASTForAudioClassification(config), torch.randn(2, 22, 14)


@transformers
def transformers_sew() -> tuple[nn.Module, Tensor]:
    from transformers import SEWConfig, SEWModel

    return SEWModel(SEWConfig(**SPEECH, squeeze_factor=2)), torch.randn(2, 1600)


@transformers
def transformers_vit() -> tuple[nn.Module, Tensor]:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=44,
        image_size=16,
        patch_size=4,
        **LABELS,
    )
    return ViTForImageClassification(config), torch.randn(2, 3, 16, 16)


@transformers
def transformers_bert() -> tuple[nn.Module, Tensor]:
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(BertConfig(**TEXT)), _tokens()


@transformers
def transformers_distilbert() -> tuple[nn.Module, Tensor]:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=31, dim=24, n_layers=2, n_heads=4, hidden_dim=44, max_position_embeddings=16, **LABELS
    )
    return DistilBertForSequenceClassification(config), _tokens()


@transformers
def transformers_albert() -> tuple[nn.Module, Tensor]:
    from transformers import AlbertConfig, AlbertModel

    return AlbertModel(AlbertConfig(**TEXT, embedding_size=14)), _tokens()


@transformers
def transformers_gpt2() -> tuple[nn.Module, Tensor]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=31,
        n_positions=16,
        n_embd=24,
        n_layer=2,
        n_head=4,
        n_inner=44,
        use_cache=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPT2LMHeadModel(config), _tokens()


@transformers
def transformers_llama() -> tuple[nn.Module, Tensor]:
    from transformers import LlamaConfig, LlamaForCausalLM

    options = {k: v for k, v in TEXT.items() if not k.endswith("_prob")}
    return LlamaForCausalLM(LlamaConfig(**options, num_key_value_heads=2, use_cache=False)), _tokens()


@transformers
def transformers_t5() -> tuple[nn.Module, dict[str, Tensor]]:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=31, d_model=24, d_kv=6, d_ff=44, num_layers=1, num_heads=4, dropout_rate=0.0, use_cache=False
    )
    config.decoder_start_token_id = 0
    return T5ForConditionalGeneration(config), {"input_ids": _tokens(), "decoder_input_ids": _tokens(31, 5)}


@transformers
def transformers_bart() -> tuple[nn.Module, dict[str, Tensor]]:
    from transformers import BartConfig, BartModel

    config = BartConfig(
        vocab_size=31,
        max_position_embeddings=16,
        d_model=24,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=3,
        encoder_ffn_dim=44,
        decoder_ffn_dim=36,
        dropout=0.0,
        use_cache=False,
    )
    return BartModel(config), {"input_ids": _tokens(), "decoder_input_ids": _tokens(31, 5)}


@of_library("transformers", LARGE)
def transformers_wav2vec2_conformer_large() -> tuple[nn.Module, Tensor]:
    """A Conformer of 12 layers on wav2vec 2.0's front end: 140 million parameters, one second of audio."""
    from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForCTC

    config = Wav2Vec2ConformerConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=2048,
        position_embeddings_type="relative",
        vocab_size=32,
        layerdrop=0.0,
        apply_spec_augment=False,
    )
    return Wav2Vec2ConformerForCTC(config), torch.randn(1, 16000)
