"""What torchvision and transformers give after every stage of their networks, for the tests of firn-models.

Weights are filled by the formula of `models.py`, so none are committed. Of each stage a few values of each sample are kept, and the sum
of the squares of all of them; of each row of the table of architectures, also of those that are too large to be computed here, a digest of the
names and shapes of its tensors.

    python worker/models/tests/reference/parity.py [CASE…]    # writes worker/models/tests/golden/stages/*.json, golden/shapes.json and golden/published.json
    python worker/models/tests/reference/parity.py shapes ARCHITECTURE LIBRARY    # prints what the digest is made of
"""

import json
import sys

import timm
import torch
import torchvision
import transformers
from cifar_resnet import CIFAR_RESNETS, cifar_resnet
from models import BERTS, DECODERS, GOLDEN, GPT2, INCEPTION_STAGES, MODERNBERT, decoder, filled, modernbert, pixels, tokens

LENGTHS = [17, 5, 1, 11]
CLASSES = 5


class Case:
    """A network of a library: how it is made, the size of its input, the modules that its stages are the outputs of, or the inputs, and its output layer."""

    def __init__(self, architecture, library, make, stages, head, size=None, config=None, forward=None, inputs=None):
        self.architecture, self.library, self.make, self.stages, self.head = architecture, library, make, stages, head
        self.size, self.config, self.forward, self.inputs = size, config, forward, inputs or {}

    @property
    def name(self):
        return f"{self.architecture}.{self.library}"


def torchvision_case(architecture, stages, head, size, **options):
    return Case(architecture, "torchvision", lambda: torchvision.models.get_model(architecture, num_classes=CLASSES, **options), stages, head, size)


def features(count, *after):
    """Stages that are the modules of `features`, and what follows."""
    return {f"features.{n}": f"features.{n}" for n in range(count)} | {"pool": "avgpool"} | dict(after)


RESNET = {"stem": "maxpool", **{f"layer{n}": f"layer{n}" for n in range(1, 5)}, "pool": "avgpool"}


def vgg(places):
    names = [f"block{n}" for n in range(1, 6)]
    return {name: f"features.{place}" for name, place in zip(names, places, strict=True)} | {"pool": "avgpool", "classifier.0": "classifier.1", "classifier.3": "classifier.4"}


# Patch, width, layers, heads.
VITS = {
    "vit_b_16": (16, 768, 12, 12),
    "vit_b_32": (32, 768, 12, 12),
    "vit_l_16": (16, 1024, 24, 16),
    "vit_l_32": (32, 1024, 24, 16),
    "vit_h_14": (14, 1280, 32, 16),
    "deit_tiny_patch16_224": (16, 192, 12, 3),
    "deit_small_patch16_224": (16, 384, 12, 6),
    "deit_base_patch16_224": (16, 768, 12, 12),
}


def vit_stages(layers, norm, count):
    return {f"layer.{n}": f"{layers}{n}" for n in range(count)} | {"norm": norm}


def torchvision_vit(name, **options):
    """torchvision's network, also of the sizes that only other libraries have a name for."""
    if name.startswith("vit_"):
        return torchvision.models.get_model(name, **options)
    patch, width, layers, heads = VITS[name]
    return torchvision.models.VisionTransformer(224, patch, layers, heads, width, 4 * width, **options)


def transformers_vit(name, **options):
    patch, width, layers, heads = VITS[name]
    config = transformers.ViTConfig(patch_size=patch, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width, **options)
    return transformers.ViTForImageClassification(config)


# Channels of the first group, blocks.
CONVNEXTS = {"convnext_tiny": (96, [3, 3, 9, 3]), "convnext_small": (96, [3, 3, 27, 3]), "convnext_base": (128, [3, 3, 27, 3]), "convnext_large": (192, [3, 3, 27, 3])}


def transformers_convnext(name):
    width, blocks = CONVNEXTS[name]
    return transformers.ConvNextForImageClassification(transformers.ConvNextConfig(hidden_sizes=[width << n for n in range(4)], depths=blocks))


# Blocks of each group.
TIMM_MOBILENETS = {"mobilenet_v2": [1, 2, 3, 4, 3, 3, 1], "mobilenet_v3_large": [1, 2, 3, 4, 2, 3], "mobilenet_v3_small": [1, 2, 3, 2, 3]}


def timm_mobilenet(name, **options):
    return timm.create_model({"mobilenet_v2": "mobilenetv2_100"}.get(name, f"mobilenetv3_{name.rpartition('_')[2]}_100"), **options)


# Width, layers, heads.
DINOV2S = {"dinov2_vits14": (384, 12, 6), "dinov2_vitb14": (768, 12, 12), "dinov2_vitl14": (1024, 24, 16), "dinov2_vitg14": (1536, 40, 24)}
TIMM_DINOV2S = {f"dinov2_vit{name[0]}14": f"vit_{name}_patch14_dinov2" for name in ("small", "base", "large", "giant")}
TIMM_DINOV2S |= {f"dinov2_vit{name[0]}14_reg": f"vit_{name}_patch14_reg4_dinov2" for name in ("small", "base", "large", "giant")}


def transformers_dinov2(name, **options):
    width, layers, heads = DINOV2S[name.removesuffix("_reg")]
    sizes = dict(image_size=518, patch_size=14, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, use_swiglu_ffn=name.startswith("dinov2_vitg14"))
    if name.endswith("_reg"):
        return transformers.Dinov2WithRegistersForImageClassification(transformers.Dinov2WithRegistersConfig(**sizes, **options))
    return transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**sizes, **options))


# Channels of the first group, blocks, heads.
SWINS = {"swin_t": (96, [2, 2, 6, 2], [3, 6, 12, 24]), "swin_s": (96, [2, 2, 18, 2], [3, 6, 12, 24]), "swin_b": (128, [2, 2, 18, 2], [4, 8, 16, 32])}
TIMM_SWINS = {"swin_t": "swin_tiny_patch4_window7_224", "swin_s": "swin_small_patch4_window7_224", "swin_b": "swin_base_patch4_window7_224"}


TIMM_SWINS |= {"swin_v2_t": "swinv2_tiny_window8_256", "swin_v2_s": "swinv2_small_window8_256", "swin_v2_b": "swinv2_base_window8_256"}


def transformers_swin(name, **options):
    width, blocks, heads = SWINS[name.replace("_v2", "")]
    if "_v2_" in name:
        config = transformers.Swinv2Config(image_size=256, window_size=8, embed_dim=width, depths=blocks, num_heads=heads, **options)
        return transformers.Swinv2ForImageClassification(config)
    return transformers.SwinForImageClassification(transformers.SwinConfig(embed_dim=width, depths=blocks, num_heads=heads, **options))


def image_cases():
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_64x4d", "wide_resnet50_2"):
        yield torchvision_case(name, RESNET, "fc", 64)
    stages = {"stem": "relu", **{f"layer{n}": f"layer{n}" for n in range(1, 4)}, "pool": "pool"}
    for name in ("resnet20_cifar", "resnet56_cifar"):
        yield Case(name, "pytorch_resnet_cifar10", lambda name=name: cifar_resnet(name, num_classes=CLASSES), stages, "linear", 32)
    yield torchvision_case("mobilenet_v2", features(19, ("pool", "classifier.0")), "classifier.1", 64)
    yield torchvision_case("mobilenet_v3_large", features(17, ("classifier.0", "classifier.1")), "classifier.3", 64)
    yield torchvision_case("mobilenet_v3_small", features(13, ("classifier.0", "classifier.1")), "classifier.3", 64)
    for name, groups in TIMM_MOBILENETS.items():
        stages = {"features.0": "bn1"}
        blocks = [f"blocks.{group}.{index}" for group, count in enumerate(groups) for index in range(count)]
        if name == "mobilenet_v2":
            stages |= {f"features.{n + 1}": block for n, block in enumerate([*blocks, "bn2"])} | {"pool": "global_pool"}
        else:
            stages |= {f"features.{n + 1}": block for n, block in enumerate([*blocks, f"blocks.{len(groups)}.0"])}
            stages |= {"pool": "global_pool", "classifier.0": "act2"}
        yield Case(name, "timm", lambda name=name: timm_mobilenet(name, num_classes=CLASSES), stages, "classifier", 64)
    for name in ("efficientnet_b0", "efficientnet_b3", "efficientnet_b5"):
        yield torchvision_case(name, features(9), "classifier.1", 64)
    yield torchvision_case("convnext_tiny", features(8, ("classifier.0", "classifier.1")), "classifier.2", 64)
    config = transformers.ConvNextConfig(num_labels=CLASSES)
    stages = {"features.0": "convnext.embeddings"}
    for n in range(4):
        stages[f"features.{2 * n + 1}"] = f"convnext.encoder.stages.{n}"
        if n > 0:
            stages[f"features.{2 * n}"] = f"convnext.encoder.stages.{n}.downsampling_layer.1"
    stages["classifier.0"] = "convnext.layernorm"
    yield Case("convnext_tiny", "hugging_face", lambda: transformers.ConvNextForImageClassification(config), stages, "classifier", 64, inputs={"pool": "convnext.layernorm"})
    for name in ("vit_b_16", "vit_b_32", "deit_tiny_patch16_224"):
        yield Case(name, "torchvision", lambda name=name: torchvision_vit(name, num_classes=CLASSES), vit_stages("encoder.layers.encoder_layer_", "encoder.ln", 12), "heads.head", 224, inputs={"embeddings": "encoder.layers", "pool": "heads.head"})
    for name in ("vit_b_32", "deit_tiny_patch16_224"):
        yield Case(name, "hugging_face", lambda name=name: transformers_vit(name, num_labels=CLASSES), {"embeddings": "vit.embeddings", **vit_stages("vit.layers.", "vit.layernorm", 12)}, "classifier", 224, inputs={"pool": "classifier"})
    yield torchvision_case("swin_t", {f"features.{n}": f"features.{n}" for n in range(8)} | {"norm": "norm", "pool": "avgpool"}, "head", 64)
    stages = {"features.0": "swin.embeddings", "norm": "swin.layernorm", "pool": "swin.pooler"}
    for n in range(4):
        stages[f"features.{2 * n + 1}"] = f"swin.encoder.layers.{n}.blocks.{[1, 1, 5, 1][n]}"
        if n > 0:
            stages[f"features.{2 * n}"] = f"swin.encoder.layers.{n - 1}.downsample"
    yield Case("swin_t", "hugging_face", lambda: transformers_swin("swin_t", num_labels=CLASSES), stages, "classifier", 224)
    yield torchvision_case("swin_v2_t", {f"features.{n}": f"features.{n}" for n in range(8)} | {"norm": "norm", "pool": "avgpool"}, "head", 64)
    yield Case("swin_v2_t", "hugging_face", lambda: transformers_swin("swin_v2_t", num_labels=CLASSES), {stage: module.replace("swin.", "swinv2.") for stage, module in stages.items()}, "classifier", 256)
    stages = {"features.0": "patch_embed", "norm": "norm", "pool": "head.global_pool"}
    stages |= {f"features.{2 * n + 1}": f"layers.{n}" for n in range(4)} | {f"features.{2 * n}": f"layers.{n}.downsample" for n in range(1, 4)}
    yield Case("swin_v2_t", "timm", lambda: timm.create_model(TIMM_SWINS["swin_v2_t"], num_classes=CLASSES), stages, "head.fc", 256)
    # Positions of 37 rows and columns are resized to 8.
    for name, prefix in (("dinov2_vits14", "dinov2"), ("dinov2_vits14_reg", "dinov2_with_registers")):
        stages = {"embeddings": f"{prefix}.embeddings", **vit_stages(f"{prefix}.encoder.layer.", f"{prefix}.layernorm", 12)}
        yield Case(name, "hugging_face", lambda name=name: transformers_dinov2(name, num_labels=CLASSES), stages, "classifier", 112, inputs={"pool": "classifier"})
        stages = {"embeddings": "norm_pre", **vit_stages("blocks.", "norm", 12)}
        yield Case(name, "timm", lambda name=name: timm.create_model(TIMM_DINOV2S[name], num_classes=CLASSES, dynamic_img_size=True), stages, "head", 112, inputs={"pool": "head"})
    yield torchvision_case("vgg11", vgg([2, 5, 10, 15, 20]), "classifier.6", 32)
    yield torchvision_case("vgg11_bn", vgg([3, 7, 14, 21, 28]), "classifier.6", 32)
    for name, places in (("vgg11", [2, 5, 10, 15, 20]), ("vgg11_bn", [3, 7, 14, 21, 28])):
        stages = vgg(places) | {"classifier.0": "pre_logits.act1", "classifier.3": "pre_logits.act2"}
        # The pool is no module.
        del stages["pool"]
        yield Case(name, "timm", lambda name=name: timm.create_model(name, num_classes=CLASSES), stages, "head.fc", 32, inputs={"pool": "pre_logits.fc1"})
    yield torchvision_case("inception_v3", INCEPTION_STAGES, "fc", 96, init_weights=False)


# Rows whose tensors are compared by name and shape, with the output layer of each.
TORCHVISION_ROWS = {
    "fc": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", "inception_v3"],
    "classifier.1": ["mobilenet_v2", *(f"efficientnet_b{n}" for n in range(8))],
    "classifier.3": ["mobilenet_v3_large", "mobilenet_v3_small"],
    "classifier.2": list(CONVNEXTS),
    "classifier.6": [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")],
}


def text_cases():
    sizes = dict(BERTS["small"])
    config = dict(model_type="bert", hidden_act="gelu", **sizes)
    stages = {"embeddings": "bert.embeddings"} | {f"layer.{n}": f"bert.encoder.layer.{n}" for n in range(3)}
    yield Case("bert", "hugging_face", lambda: transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=CLASSES, **sizes)), stages, "classifier", config=config, forward=lambda model, ids, mask: model.bert(ids, attention_mask=mask))
    roberta = {**BERTS["small"], "max_position_embeddings": 42, "type_vocab_size": 1}
    config = dict(model_type="roberta", hidden_act="gelu", pad_token_id=1, **roberta)
    stages = {stage: module.replace("bert.", "roberta.") for stage, module in stages.items()}
    yield Case("roberta", "hugging_face", lambda: transformers.RobertaForSequenceClassification(transformers.RobertaConfig(num_labels=CLASSES, pad_token_id=1, **roberta)), stages, "classifier", config=config, forward=lambda model, ids, mask: model.roberta(ids, attention_mask=mask, position_ids=mask.cumsum(1) * mask + 1))
    distilled = dict(vocab_size=200, dim=64, n_layers=3, n_heads=4, hidden_dim=160, max_position_embeddings=40)
    config = dict(model_type="distilbert", activation="gelu", **distilled)
    stages = {"embeddings": "distilbert.embeddings"} | {f"layer.{n}": f"distilbert.transformer.layer.{n}" for n in range(3)}
    yield Case("distilbert", "hugging_face", lambda: transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(num_labels=CLASSES, **distilled)), stages, "classifier", config=config, forward=lambda model, ids, mask: model.distilbert(ids, attention_mask=mask))
    config = dict(model_type="gpt2", activation_function="gelu_new", **GPT2)
    stages = {"embeddings": "transformer.drop"} | {f"layer.{n}": f"transformer.h.{n}" for n in range(3)} | {"norm": "transformer.ln_f"}
    yield Case("gpt2", "hugging_face", lambda: transformers.GPT2ForSequenceClassification(transformers.GPT2Config(num_labels=CLASSES, pad_token_id=None, **GPT2)), stages, "score", config=config, forward=lambda model, ids, mask: model.transformer(ids, attention_mask=mask))


    for name in ("llama", "qwen2", "qwen3"):
        stages = {"embeddings": "model.embed_tokens"} | {f"layer.{n}": f"model.layers.{n}" for n in range(3)} | {"norm": "model.norm"}
        yield Case(name, "hugging_face", lambda name=name: decoder(name), stages, "score", config=DECODERS[name], forward=lambda model, ids, mask: model.model(ids, attention_mask=mask))


    stages = {"embeddings": "model.embeddings"} | {f"layer.{n}": f"model.layers.{n}" for n in range(4)} | {"norm": "model.final_norm", "transform": "head"}
    yield Case("modernbert", "hugging_face", modernbert, stages, "classifier", config=MODERNBERT, forward=lambda model, ids, mask: model(ids, attention_mask=mask))


# Text networks as they are published: what their `config.json` says of the sizes.
PUBLISHED = {
    "HuggingFaceTB/SmolLM2-135M": dict(model_type="llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=100000, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0),
    "HuggingFaceTB/SmolLM2-360M": dict(model_type="llama", vocab_size=49152, hidden_size=960, intermediate_size=2560, num_hidden_layers=32, num_attention_heads=15, num_key_value_heads=5, max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=100000, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": dict(model_type="llama", vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4, max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None, attention_bias=False, pretraining_tp=1, bos_token_id=1, eos_token_id=2),
    "meta-llama/Llama-3.2-1B-Instruct": dict(model_type="llama", vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, head_dim=64, max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0, rope_scaling=dict(factor=32.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=8192, rope_type="llama3"), attention_bias=False, mlp_bias=False, pretraining_tp=1, tie_word_embeddings=True, bos_token_id=128000, eos_token_id=[128001, 128008, 128009]),
    "Qwen/Qwen2-0.5B": dict(model_type="qwen2", vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=131072, max_window_layers=24, sliding_window=131072, use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True, bos_token_id=151643, eos_token_id=151643),
    "Qwen/Qwen2.5-0.5B": dict(model_type="qwen2", vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768, max_window_layers=24, sliding_window=32768, use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True, bos_token_id=151643, eos_token_id=151643),
    "Qwen/Qwen2.5-1.5B": dict(model_type="qwen2", vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, max_position_embeddings=131072, max_window_layers=28, sliding_window=131072, use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True, bos_token_id=151643, eos_token_id=151643),
    "Qwen/Qwen3-0.6B": dict(model_type="qwen3", vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=40960, max_window_layers=28, sliding_window=None, use_sliding_window=False, rms_norm_eps=1e-6, rope_theta=1000000, rope_scaling=None, attention_bias=False, tie_word_embeddings=True, bos_token_id=151643, eos_token_id=151645),
    "answerdotai/ModernBERT-base": dict(model_type="modernbert", vocab_size=50368, hidden_size=768, intermediate_size=1152, num_hidden_layers=22, num_attention_heads=12, max_position_embeddings=8192, norm_eps=1e-5, norm_bias=False, attention_bias=False, mlp_bias=False, classifier_bias=False, classifier_pooling="mean", classifier_activation="gelu", hidden_activation="gelu", global_attn_every_n_layers=3, local_attention=128, global_rope_theta=160000.0, local_rope_theta=10000.0, position_embedding_type="absolute", pad_token_id=50283),
    "answerdotai/ModernBERT-large": dict(model_type="modernbert", vocab_size=50368, hidden_size=1024, intermediate_size=2624, num_hidden_layers=28, num_attention_heads=16, max_position_embeddings=8192, norm_eps=1e-5, norm_bias=False, attention_bias=False, mlp_bias=False, classifier_bias=False, classifier_pooling="mean", classifier_activation="gelu", hidden_activation="gelu", global_attn_every_n_layers=3, local_attention=128, global_rope_theta=160000.0, local_rope_theta=10000.0, position_embedding_type="absolute", pad_token_id=50283),
}


def published():
    """Of each: its configuration, tensors, and the digest of their names and shapes."""
    out = {}
    for name, config in PUBLISHED.items():
        with torch.device("meta"):
            model = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.for_model(**config))
        found = lines(model, next(head for head in ("score", "classifier") if hasattr(model, head)))
        out[name] = {"config": config, "tensors": len(found), "digest": digest("\n".join(found))}
    return out


def spread(tensor):
    """The sum of all squares, and twelve values of each sample."""
    flat = tensor.detach().flatten(1).double()
    places = torch.arange(12) * flat.shape[1] // 12
    return [float(f"{value:.8g}") for value in [float((flat * flat).sum()), *flat[:, places].flatten().tolist()]]


@torch.no_grad()
def values(case):
    """After every stage, and of the output layer. States of tokens that are padding are 0."""
    torch.manual_seed(0)
    model, stages = filled(case.make()), {}
    mask = None
    if case.config:
        ids, mask = tokens(case.config["vocab_size"], LENGTHS)

    def keep(stage):
        def hook(_, __, output):
            output = output[0] if isinstance(output, tuple) else output
            stages[stage] = spread(output * mask.unsqueeze(-1) if mask is not None and output.dim() == 3 else output)

        return hook

    for stage, module in case.stages.items():
        model.get_submodule(module).register_forward_hook(keep(stage))
    for stage, module in case.inputs.items():
        model.get_submodule(module).register_forward_pre_hook(lambda _, inputs, stage=stage: stages.update({stage: spread(inputs[0])}))
    if case.config:
        case.forward(model, ids, mask)
        return {"config": case.config, "lengths": LENGTHS, "stages": stages}
    seen = {}
    model.get_submodule(case.head).register_forward_hook(lambda _, inputs, output: seen.update(features=spread(inputs[0]), logits=output))
    model(pixels(case.size, case.size))
    return {"size": case.size, "head": case.head, "stages": stages | {"pool": stages.get("pool", seen["features"])}, "logits": seen["logits"].double().flatten().tolist()}


def lines(model, head):
    """`name [shape]` of each tensor that belongs to a backbone, in order of the names."""
    state = model.state_dict()
    harmless = ("num_batches_tracked", "position_ids", "relative_position_index", "relative_coords_table", "mask_token")
    belongs = lambda name: not name.startswith((f"{head}.", "AuxLogits.fc.")) and not name.endswith(harmless)
    return sorted(f"{name} {list(tensor.shape)}" for name, tensor in state.items() if belongs(name))


def digest(text):
    """FNV-1a of 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{value:016x}"


def rows():
    """Architecture, library, how it is made, its output layer."""
    for head, names in TORCHVISION_ROWS.items():
        for name in names:
            options = {"init_weights": False} if name == "inception_v3" else {}
            yield name, "torchvision", lambda name=name, options=options: torchvision.models.get_model(name, **options), head
    for name in CIFAR_RESNETS:
        yield name, "pytorch_resnet_cifar10", lambda name=name: cifar_resnet(name), "linear"
    for name in VITS:
        yield name, "torchvision", lambda name=name: torchvision_vit(name), "heads.head"
        yield name, "hugging_face", lambda name=name: transformers_vit(name), "classifier"
    for name in TIMM_MOBILENETS:
        yield name, "timm", lambda name=name: timm_mobilenet(name), "classifier"
    for name in TORCHVISION_ROWS["classifier.6"]:
        yield name, "timm", lambda name=name: timm.create_model(name), "head.fc"
    for name in TIMM_DINOV2S:
        yield name, "hugging_face", lambda name=name: transformers_dinov2(name), "classifier"
        yield name, "timm", lambda name=name: timm.create_model(TIMM_DINOV2S[name]), "head"
    for name in TIMM_SWINS:
        yield name, "torchvision", lambda name=name: torchvision.models.get_model(name), "head"
        yield name, "timm", lambda name=name: timm.create_model(TIMM_SWINS[name]), "head.fc"
        yield name, "hugging_face", lambda name=name: transformers_swin(name), "classifier"
    for name in CONVNEXTS:
        yield name, "hugging_face", lambda name=name: transformers_convnext(name), "classifier"


def shapes():
    """Of each row: tensors, numbers in them, digest of names and shapes."""
    out = {}
    for architecture, library, make, head in rows():
        with torch.device("meta"):
            found = lines(make(), head)
        out[f"{architecture}.{library}"] = {"tensors": len(found), "digest": digest("\n".join(found))}
    return out


def main():
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["shapes"]:
        for architecture, library, make, head in rows():
            if [architecture, library] == sys.argv[2:]:
                with torch.device("meta"):
                    print("\n".join(lines(make(), head)))
        return
    folder = GOLDEN / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    for case in [*image_cases(), *text_cases()]:
        if len(sys.argv) > 1 and not any(case.name.startswith(wanted) for wanted in sys.argv[1:]):
            continue
        found = values(case)
        (folder / f"{case.name}.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
        largest = max(abs(value) for stage in found["stages"].values() for value in stage[1:])
        print(case.name, len(found["stages"]), "stages, largest value", f"{largest:.3g}", "logits", [round(x, 3) for x in found.get("logits", [])][:5])
    (GOLDEN / "shapes.json").write_text(json.dumps(shapes(), indent=0, sort_keys=True) + "\n")
    (GOLDEN / "published.json").write_text(json.dumps(published(), indent=1) + "\n")


if __name__ == "__main__":
    main()
