"""Small models of every kind that MusicEncoder takes."""

import transformers

from mert_hf import MERTConfig, MERTModel

SIZES = dict(
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=64,
    conv_dim=[16] * 7,
    num_conv_pos_embeddings=16,
    # not 4: of fewer than 16 channels a group, torch 2.14 on CPUs with AMX computes another convolution in bfloat16
    num_conv_pos_embedding_groups=2,
)
MODELS = {
    "mert": (MERTConfig, MERTModel, {}),
    "mert_pre_norm": (MERTConfig, MERTModel, {"do_stable_layer_norm": True}),
    "hubert": (transformers.HubertConfig, transformers.HubertModel, {}),
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model, {}),
    "wav2vec2_pre_norm": (
        transformers.Wav2Vec2Config,
        transformers.Wav2Vec2Model,
        {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True},
    ),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel, {}),
    "data2vec": (
        transformers.Data2VecAudioConfig,
        transformers.Data2VecAudioModel,
        {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2},
    ),
}
