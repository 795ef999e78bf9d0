"""torchaudio and speechbrain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.registry import LARGE, of_library

torchaudio = of_library("torchaudio")
speechbrain = of_library("speechbrain")


def _wav2vec2(**options: Any) -> dict[str, Any]:
    return {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": [(18, 10, 5), (18, 8, 4), (22, 4, 4)],
        "extractor_conv_bias": False,
        "encoder_embed_dim": 24,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": 9,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 2,
        "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": 44,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": False,
        "encoder_layer_drop": 0.0,
        "aux_num_out": 9,
        **options,
    }


@torchaudio
def torchaudio_wav2letter() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import Wav2Letter

    return Wav2Letter(num_classes=9, input_type="mfcc", num_features=13), torch.randn(2, 13, 30)


@torchaudio
def torchaudio_deepspeech() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import DeepSpeech

    return DeepSpeech(13, n_hidden=36, n_class=9), torch.randn(2, 1, 12, 13)


@torchaudio
def torchaudio_conv_tasnet() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import ConvTasNet

    net = ConvTasNet(2, enc_num_feats=24, msk_num_feats=14, msk_num_hidden_feats=20, msk_num_layers=2, msk_num_stacks=2)
    return net, torch.randn(2, 1, 320)


@torchaudio
def torchaudio_conformer() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    from torchaudio.models import Conformer

    return Conformer(20, 4, 36, 2, 7), (torch.randn(2, 15, 20), torch.tensor([15, 11]))


@torchaudio
def torchaudio_emformer() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    from torchaudio.models import Emformer

    net = Emformer(20, 4, 36, 2, segment_length=4, left_context_length=4, right_context_length=2)
    return net, (torch.randn(2, 14, 20), torch.tensor([12, 10]))


@torchaudio
def torchaudio_wav2vec2() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import wav2vec2_model

    return wav2vec2_model(**_wav2vec2()), torch.randn(2, 1600)


@torchaudio
def torchaudio_hubert() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import wav2vec2_model

    options = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
    return wav2vec2_model(**_wav2vec2(aux_num_out=None, **options)), torch.randn(2, 1600)


@torchaudio
def torchaudio_wavlm() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import wavlm_model

    return wavlm_model(**_wav2vec2(), encoder_num_buckets=16, encoder_max_distance=32), torch.randn(2, 1600)


@torchaudio
def torchaudio_tacotron2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    from torchaudio.models import Tacotron2

    net = Tacotron2(
        n_mels=10,
        n_symbol=17,
        symbol_embedding_dim=28,
        encoder_embedding_dim=28,
        decoder_rnn_dim=32,
        decoder_dropout=0.0,
        attention_rnn_dim=36,
        attention_hidden_dim=20,
        attention_location_n_filter=6,
        attention_location_kernel_size=5,
        attention_dropout=0.0,
        prenet_dim=22,
        postnet_embedding_dim=26,
    )
    lengths = torch.tensor([7, 5]), torch.tensor([6, 4])
    return net, (torch.randint(17, (2, 7)), lengths[0], torch.randn(2, 10, 6), lengths[1])


@torchaudio
def torchaudio_wavernn() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    from torchaudio.models import WaveRNN

    net = WaveRNN([2, 3], 8, 6, n_res_block=2, n_rnn=24, n_fc=28, kernel_size=3, n_freq=11, n_hidden=18, n_output=16)
    return net, (torch.randn(2, 1, (8 - 3 + 1) * 6), torch.randn(2, 1, 11, 8))


@torchaudio
def torchaudio_squim_objective() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import squim_objective_model

    return squim_objective_model(24, 16, 20, 4, 14, 2, "LSTM", 8), torch.randn(2, 800)


@torchaudio
def torchaudio_hdemucs() -> tuple[nn.Module, Tensor]:
    from torchaudio.models import HDemucs

    net = HDemucs(
        ["speech", "noise"],
        audio_channels=1,
        channels=8,
        nfft=256,
        depth=4,
        norm_starts=2,
        dconv_attn=2,
        dconv_lstm=2,
        dconv_init=0.1,
    )
    return net, torch.randn(1, 1, 4096)


@torchaudio
def torchaudio_rnnt_emformer() -> tuple[nn.Module, tuple[Tensor, ...]]:
    from torchaudio.models import emformer_rnnt_model

    net = emformer_rnnt_model(
        input_dim=12,
        encoding_dim=22,
        num_symbols=9,
        segment_length=8,
        right_context_length=4,
        time_reduction_input_dim=8,
        time_reduction_stride=4,
        transformer_num_heads=4,
        transformer_ffn_dim=40,
        transformer_num_layers=1,
        transformer_dropout=0.0,
        transformer_activation="gelu",
        transformer_left_context_length=8,
        transformer_max_memory_size=0,
        transformer_weight_init_scale_strategy="depthwise",
        transformer_tanh_on_mem=True,
        symbol_embedding_dim=14,
        num_lstm_layers=1,
        lstm_layer_norm=True,
        lstm_layer_norm_epsilon=1e-3,
        lstm_dropout=0.0,
    )
    lengths = torch.tensor([16, 12], dtype=torch.int32), torch.tensor([5, 3], dtype=torch.int32)
    return net, (torch.randn(2, 20, 12), lengths[0], torch.randint(9, (2, 5)), lengths[1])


@of_library("torchaudio", LARGE)
def torchaudio_wav2vec2_16_layers() -> tuple[nn.Module, Tensor]:
    """wav2vec 2.0 "base" with 16 layers for 12: 123 million parameters; one second of audio."""
    from torchaudio.models import wav2vec2_model

    options = {
        "extractor_conv_layer_config": None,
        "encoder_embed_dim": 768,
        "encoder_pos_conv_kernel": 128,
        "encoder_pos_conv_groups": 16,
        "encoder_num_layers": 16,
        "encoder_num_heads": 12,
        "encoder_ff_interm_features": 3072,
        "aux_num_out": 32,
    }
    return wav2vec2_model(**_wav2vec2(**options)), torch.randn(1, 16000)


@speechbrain
def speechbrain_ecapa_tdnn() -> tuple[nn.Module, Tensor]:
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    net = ECAPA_TDNN(
        11,
        lin_neurons=14,
        channels=[24, 24, 24, 24, 60],
        attention_channels=10,
        res2net_scale=4,
        se_channels=8,
    )
    return net, torch.randn(3, 22, 11)


@speechbrain
def speechbrain_xvector() -> tuple[nn.Module, Tensor]:
    from speechbrain.lobes.models.Xvector import Xvector

    net = Xvector(
        in_channels=11,
        tdnn_blocks=3,
        tdnn_channels=[20, 24, 36],
        tdnn_kernel_sizes=[5, 3, 1],
        tdnn_dilations=[1, 2, 1],
        lin_neurons=14,
    )
    return net, torch.randn(3, 22, 11)


@speechbrain
def speechbrain_crdnn() -> tuple[nn.Module, Tensor]:
    from speechbrain.lobes.models.CRDNN import CRDNN

    net = CRDNN(
        input_size=12,
        cnn_channels=(8, 12),
        time_pooling=True,
        rnn_layers=2,
        rnn_neurons=18,
        dnn_blocks=2,
        dnn_neurons=22,
    )
    return net, torch.randn(3, 16, 12)


@speechbrain
def speechbrain_resnet() -> tuple[nn.Module, Tensor]:
    from speechbrain.lobes.models.ResNet import ResNet

    return ResNet(
        input_size=16, block_sizes=[1, 1, 1, 1], channels=[8, 12, 16, 20], strides=[1, 2, 2, 2], lin_neurons=14
    ), torch.randn(3, 24, 16)


def _speechbrain_transformer(kind: str, **options: Any) -> nn.Module:
    from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR

    return TransformerASR(
        tgt_vocab=13,
        input_size=20,
        d_model=24,
        nhead=4,
        num_encoder_layers=2,
        num_decoder_layers=1,
        d_ffn=40,
        dropout=0.0,
        encoder_module=kind,
        kernel_size=7,
        **options,
    )


@speechbrain
def speechbrain_transformer_asr() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    net = _speechbrain_transformer("transformer", normalize_before=True, causal=False)
    return net, (torch.randn(2, 12, 20), torch.randint(1, 13, (2, 5)))


@speechbrain
def speechbrain_conformer_asr() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    net = _speechbrain_transformer("conformer", attention_type="RelPosMHAXL", normalize_before=True, causal=False)
    return net, (torch.randn(2, 12, 20), torch.randint(1, 13, (2, 5)))


@speechbrain
def speechbrain_conv_tasnet() -> tuple[nn.Module, Tensor]:
    from speechbrain.lobes.models.conv_tasnet import MaskNet

    return MaskNet(N=24, B=14, H=20, P=3, X=2, R=2, C=2), torch.randn(2, 24, 19)


@speechbrain
def speechbrain_sepformer() -> tuple[nn.Module, Tensor]:
    from speechbrain.lobes.models.dual_path import Dual_Path_Model, SBTransformerBlock

    blocks = [SBTransformerBlock(1, 20, 4, d_ffn=36, norm_before=True) for _ in range(2)]
    return Dual_Path_Model(24, 20, *blocks, num_layers=1, K=6, num_spks=2), torch.randn(2, 24, 18)


@speechbrain
def speechbrain_hifigan() -> tuple[nn.Module, Tensor]:
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator

    net = HifiganGenerator(
        in_channels=10,
        out_channels=1,
        resblock_type="1",
        resblock_dilation_sizes=[[1, 2, 3], [1, 2, 3]],
        resblock_kernel_sizes=[3, 5],
        upsample_kernel_sizes=[4, 4],
        upsample_initial_channel=32,
        upsample_factors=[2, 2],
        inference_padding=0,
    )
    return net, torch.randn(2, 10, 9)
