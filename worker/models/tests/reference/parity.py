"""What torchvision and transformers give after every stage of their networks, for the tests of firn-models.

Weights are filled by the formula of `formula.py`, so none are committed. Where the running variances of the formula would
let what differs between samples die out, those of each BatchNorm are filled around what comes into it (`follow_variances`). Of each stage a few values
of each sample are kept, and the sum of the squares of all of them; of each row of the table of architectures, also of those that are too large to be
computed here, a digest of the names and shapes of its tensors.

    python worker/models/tests/reference/parity.py [CASE…]    # writes worker/models/tests/golden/stages/*.json, golden/gated.json, golden/shapes.json and golden/published.json
    python worker/models/tests/reference/parity.py shapes ARCHITECTURE LIBRARY    # prints what the digest is made of
"""

import json
import sys

import timm
import torch
import torchvision
import transformers
from cifar_resnet import CIFAR_RESNETS, cifar_resnet
from formula import GOLDEN, filled, mean, pixels, tokens
from images import INCEPTION_STAGES
from networks import CONVNEXTS, RESNETS, TIMM_DINOV2S, TIMM_MOBILENETS, TIMM_SWINS, TIMM_VITS, VITS, timm_mobilenet, torchvision_vit, transformers_convnext, transformers_dinov2, transformers_resnet, transformers_swin, transformers_vit
from texts import BERTS, DECODERS, GPT2, MODERNBERT, decoder, modernbert

LENGTHS = [17, 5, 1, 11]
CLASSES = 5


class Case:
    """A network of a library: how it is made, the size of its input, the modules that its stages are the outputs of, or the inputs, and its output layer.

    Of texts also the configuration, how the states of tokens are pooled, and the part of the network that gives the states where the library's own
    pool is another one.
    """

    def __init__(self, architecture, library, make, stages, head, size=None, config=None, pooling=None, body=None, inputs=None):
        self.architecture, self.library, self.make, self.stages, self.head = architecture, library, make, stages, head
        self.size, self.config, self.pooling, self.body, self.inputs = size, config, pooling, body, inputs or {}

    @property
    def name(self):
        return f"{self.architecture}.{self.library}"


def torchvision_case(architecture, stages, head, size, **options):
    return Case(architecture, "torchvision", lambda: torchvision.models.get_model(architecture, num_classes=CLASSES, **options), stages, head, size)


def timm_case(architecture, name, stages, head, size, **options):
    return Case(architecture, "timm", lambda: timm.create_model(name, num_classes=CLASSES, **options), stages, head, size)


def timm_groups(name):
    """The four groups of blocks, and what halves the image before each but the first."""
    groups = {f"features.{2 * n + 1}": f"{name}.{n}" for n in range(4)}
    return groups | {f"features.{2 * n}": f"{name}.{n}.downsample" for n in range(1, 4)}


def features(count, *after):
    """Stages that are the modules of `features`, and what follows."""
    return {f"features.{n}": f"features.{n}" for n in range(count)} | {"pool": "avgpool"} | dict(after)


RESNET = {"stem": "maxpool", **{f"layer{n}": f"layer{n}" for n in range(1, 5)}, "pool": "avgpool"}


def vgg(places):
    names = [f"block{n}" for n in range(1, 6)]
    return {name: f"features.{place}" for name, place in zip(names, places, strict=True)} | {"pool": "avgpool", "classifier.0": "classifier.1", "classifier.3": "classifier.4"}


def vit_stages(layers, norm, count):
    return {f"layer.{n}": f"{layers}{n}" for n in range(count)} | {"norm": norm}


def gated_cases():
    """Two layers as those of `dinov2_vitg14`, which is too large to be computed here."""
    config = transformers.Dinov2Config(image_size=56, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, use_swiglu_ffn=True, num_labels=CLASSES)
    stages = {"embeddings": "dinov2.embeddings", **vit_stages("dinov2.encoder.layer.", "dinov2.layernorm", 2)}
    yield Case("gated", "hugging_face", lambda: transformers.Dinov2ForImageClassification(config), stages, "classifier", 56, inputs={"pool": "classifier"})
    # What timm's `vit_giant_patch14_dinov2` is made with.
    sizes = dict(img_size=56, patch_size=14, embed_dim=48, depth=2, num_heads=3, mlp_ratio=2.66667 * 2, mlp_layer=timm.layers.SwiGLUPacked, act_layer=torch.nn.SiLU, init_values=1e-5)
    stages = {"embeddings": "norm_pre", **vit_stages("blocks.", "norm", 2)}
    yield Case("gated", "timm", lambda: timm.models.vision_transformer.VisionTransformer(num_classes=CLASSES, **sizes), stages, "head", 56)


def image_cases():
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_64x4d", "wide_resnet50_2"):
        yield torchvision_case(name, RESNET, "fc", 64)
    stages = {"stem": "relu", **{f"layer{n}": f"layer{n}" for n in range(1, 4)}, "pool": "pool"}
    for name in ("resnet20_cifar", "resnet56_cifar"):
        yield Case(name, "pytorch_resnet_cifar10", lambda name=name: cifar_resnet(name, num_classes=CLASSES), stages, "linear", 32)
    yield torchvision_case("mobilenet_v2", features(19, ("pool", "classifier.0")), "classifier.1", 64)
    yield torchvision_case("mobilenet_v3_large", features(17, ("classifier.0", "classifier.1")), "classifier.3", 64)
    yield torchvision_case("mobilenet_v3_small", features(13, ("classifier.0", "classifier.1")), "classifier.3", 64)
    for name, (_, groups) in TIMM_MOBILENETS.items():
        stages = {"features.0": "bn1"}
        blocks = [f"blocks.{group}.{index}" for group, count in enumerate(groups) for index in range(count)]
        last = "bn2" if name == "mobilenet_v2" else f"blocks.{len(groups)}.0"
        stages |= {f"features.{n + 1}": block for n, block in enumerate([*blocks, last])} | {"pool": "global_pool"}
        if name != "mobilenet_v2":
            stages |= {"classifier.0": "act2"}
        yield timm_case(name, TIMM_MOBILENETS[name][0], stages, "classifier", 80 if name == "mobilenet_v2" else 64)
    for name in ("efficientnet_b0", "efficientnet_b3", "efficientnet_b5"):
        yield torchvision_case(name, features(9), "classifier.1", 64)
    for name in ("efficientnet_b0", "efficientnet_b5"):
        stages = {"features.0": "bn1", **{f"features.{n + 1}": f"blocks.{n}" for n in range(7)}, "features.8": "bn2"}
        yield timm_case(name, name, stages, "classifier", 64)
    yield torchvision_case("convnext_tiny", features(8, ("classifier.0", "classifier.1")), "classifier.2", 64)
    config = transformers.ConvNextConfig(num_labels=CLASSES)
    stages = {"features.0": "convnext.embeddings"}
    for n in range(4):
        stages[f"features.{2 * n + 1}"] = f"convnext.encoder.stages.{n}"
        if n > 0:
            stages[f"features.{2 * n}"] = f"convnext.encoder.stages.{n}.downsampling_layer.1"
    stages["classifier.0"] = "convnext.layernorm"
    yield Case("convnext_tiny", "hugging_face", lambda: transformers.ConvNextForImageClassification(config), stages, "classifier", 64, inputs={"pool": "convnext.layernorm"})
    stages = {"features.0": "stem", "pool": "head.global_pool", "classifier.0": "head.norm"}
    yield timm_case("convnext_tiny", "convnext_tiny", stages | timm_groups("stages"), "head.fc", 64)
    for name in ("vit_b_16", "vit_b_32", "deit_tiny_patch16_224"):
        yield Case(name, "torchvision", lambda name=name: torchvision_vit(name, num_classes=CLASSES), vit_stages("encoder.layers.encoder_layer_", "encoder.ln", 12), "heads.head", 224, inputs={"embeddings": "encoder.layers", "pool": "heads.head"})
    for name in ("vit_b_32", "deit_tiny_patch16_224"):
        yield Case(name, "hugging_face", lambda name=name: transformers_vit(name, num_labels=CLASSES), {"embeddings": "vit.embeddings", **vit_stages("vit.layers.", "vit.layernorm", 12)}, "classifier", 224, inputs={"pool": "classifier"})
    stages = {"embeddings": "norm_pre", **vit_stages("blocks.", "norm", 12)}
    yield timm_case("deit_tiny_patch16_224", TIMM_VITS["deit_tiny_patch16_224"], stages, "head", 224)
    yield torchvision_case("swin_t", {f"features.{n}": f"features.{n}" for n in range(8)} | {"norm": "norm", "pool": "avgpool"}, "head", 64)
    stages = {"features.0": "swin.embeddings", "norm": "swin.layernorm", "pool": "swin.pooler"}
    for n in range(4):
        stages[f"features.{2 * n + 1}"] = f"swin.encoder.layers.{n}.blocks.{[1, 1, 5, 1][n]}"
        if n > 0:
            stages[f"features.{2 * n}"] = f"swin.encoder.layers.{n - 1}.downsample"
    yield Case("swin_t", "hugging_face", lambda: transformers_swin("swin_t", num_labels=CLASSES), stages, "classifier", 224)
    yield torchvision_case("swin_v2_t", {f"features.{n}": f"features.{n}" for n in range(8)} | {"norm": "norm", "pool": "avgpool"}, "head", 64)
    yield Case("swin_v2_t", "hugging_face", lambda: transformers_swin("swin_v2_t", num_labels=CLASSES), {stage: module.replace("swin.", "swinv2.") for stage, module in stages.items()}, "classifier", 256)
    # Of smaller images timm takes smaller windows.
    stages = {"features.0": "patch_embed", "norm": "norm", "pool": "head.global_pool", **timm_groups("layers")}
    yield timm_case("swin_t", TIMM_SWINS["swin_t"], stages, "head.fc", 224)
    yield timm_case("swin_v2_t", TIMM_SWINS["swin_v2_t"], stages, "head.fc", 256)
    # Positions of 37 rows and columns are resized to 8.
    for name, prefix in (("dinov2_vits14", "dinov2"), ("dinov2_vits14_reg", "dinov2_with_registers")):
        stages = {"embeddings": f"{prefix}.embeddings", **vit_stages(f"{prefix}.encoder.layer.", f"{prefix}.layernorm", 12)}
        yield Case(name, "hugging_face", lambda name=name: transformers_dinov2(name, num_labels=CLASSES), stages, "classifier", 112, inputs={"pool": "classifier"})
        stages = {"embeddings": "norm_pre", **vit_stages("blocks.", "norm", 12)}
        yield timm_case(name, TIMM_DINOV2S[name], stages, "head", 112, dynamic_img_size=True)
    yield torchvision_case("vgg11", vgg([2, 5, 10, 15, 20]), "classifier.6", 32)
    yield torchvision_case("vgg11_bn", vgg([3, 7, 14, 21, 28]), "classifier.6", 32)
    # Of a larger image the first wide layer gives a map; of a smaller one the pool is no module.
    for name, places, size in (("vgg11", [2, 5, 10, 15, 20], 256), ("vgg11_bn", [3, 7, 14, 21, 28], 32)):
        stages = vgg(places) | {"classifier.0": "pre_logits.act1", "classifier.3": "head.global_pool"}
        del stages["pool"]
        yield Case(name, "timm", lambda name=name: timm.create_model(name, num_classes=CLASSES), stages, "head.fc", size, inputs={"pool": "pre_logits.fc1"})
    yield torchvision_case("inception_v3", INCEPTION_STAGES, "fc", 96, init_weights=False)


# Rows whose tensors are compared by name and shape, with the output layer of each.
TORCHVISION_ROWS = {
    "fc": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", "inception_v3"],
    "classifier.1": ["mobilenet_v2", *(f"efficientnet_b{n}" for n in range(8))],
    "classifier.3": ["mobilenet_v3_large", "mobilenet_v3_small"],
    "classifier.2": list(CONVNEXTS),
    "classifier.6": [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")],
}


def text_case(architecture, make, stages, head, config, pooling="mean", **options):
    return Case(architecture, "hugging_face", make, stages, head, config=config, pooling=pooling, **options)


def layers(prefix, count):
    return {f"layer.{n}": f"{prefix}{n}" for n in range(count)}


def text_cases():
    sizes = dict(BERTS["small"])
    config = dict(model_type="bert", hidden_act="gelu", **sizes)
    stages = {"embeddings": "bert.embeddings"} | layers("bert.encoder.layer.", 3)
    yield text_case("bert", lambda: transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=CLASSES, **sizes)), stages, "classifier", config, body="bert")
    roberta = {**BERTS["small"], "max_position_embeddings": 42, "type_vocab_size": 1}
    config = dict(model_type="roberta", hidden_act="gelu", pad_token_id=1, **roberta)
    stages = {"embeddings": "roberta.embeddings"} | layers("roberta.encoder.layer.", 3)
    yield text_case("roberta", lambda: transformers.RobertaForSequenceClassification(transformers.RobertaConfig(num_labels=CLASSES, pad_token_id=1, **roberta)), stages, "classifier.out_proj", config, body="roberta")
    distilled = dict(vocab_size=200, dim=64, n_layers=3, n_heads=4, hidden_dim=160, max_position_embeddings=40)
    config = dict(model_type="distilbert", activation="gelu", **distilled)
    stages = {"embeddings": "distilbert.embeddings"} | layers("distilbert.transformer.layer.", 3)
    yield text_case("distilbert", lambda: transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(num_labels=CLASSES, **distilled)), stages, "classifier", config, body="distilbert")
    config = dict(model_type="gpt2", activation_function="gelu_new", **GPT2)
    stages = {"embeddings": "transformer.drop"} | layers("transformer.h.", 3) | {"norm": "transformer.ln_f"}
    yield text_case("gpt2", lambda: transformers.GPT2ForSequenceClassification(transformers.GPT2Config(num_labels=CLASSES, **GPT2)), stages, "score", config, pooling="last")
    for name in ("llama", "qwen2", "qwen3"):
        stages = {"embeddings": "model.embed_tokens"} | layers("model.layers.", 3) | {"norm": "model.norm"}
        yield text_case(name, lambda name=name: decoder(name), stages, "score", DECODERS[name], pooling="last")
    stages = {"embeddings": "model.embeddings"} | layers("model.layers.", 4) | {"norm": "model.final_norm", "transform": "head"}
    yield text_case("modernbert", modernbert, stages, "classifier", MODERNBERT, inputs={"pool": "head"})


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


# Of running variances near 1 what differs between samples dies out in these: it is halved by every gate, or narrowed by every branch.
FADING = ("efficientnet_", "inception_", "mobilenet_v2.timm", "mobilenet_v3_")


def follow_variances(model):
    """Has each BatchNorm multiply its running variances by what a channel of its input has on average: its variance and two thirds of the square
    of its mean, so that a large mean is not blown up with the differences, and rounding with it. These numbers, by the names of the tensors, are
    known after a batch; that of a layer which had no input is 1."""
    found = {}

    def follow(name):
        def hook(norm, inputs):
            channels = inputs[0].transpose(0, 1).flatten(1)
            found[name] = float(f"{(channels.var(1, correction=0) + channels.mean(1).square() * 2 / 3).mean():.2g}")
            norm.running_var.mul_(found[name])

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            found[f"{name}.running_var"] = 1.0
            module.register_forward_pre_hook(follow(f"{name}.running_var"))
    return found


def text_outputs(case, model, ids, mask):
    """What the states of tokens are pooled to, where no module gives it, and the logits of the library, or of its output layer alone."""
    if case.body:
        places = {"position_ids": mask.cumsum(1) * mask + 1} if case.architecture == "roberta" else {}
        pooled = mean(model.get_submodule(case.body)(ids, attention_mask=mask, **places).last_hidden_state, mask)
        return pooled, model.get_submodule(case.head)(pooled)
    seen = {}
    model.get_submodule(case.head).register_forward_pre_hook(lambda _, inputs: seen.update(states=inputs[0]))
    model.config.pad_token_id = 0  # of `tokens`
    logits = model(ids, attention_mask=mask).logits
    last = mask.sum(1) - 1
    return seen["states"][torch.arange(len(mask)), last] if case.pooling == "last" else None, logits


@torch.no_grad()
def values(case):
    """After every stage, and of the output layer. States of tokens that are padding are 0."""
    torch.manual_seed(0)
    model, stages = filled(case.make()), {}
    variances = follow_variances(model) if case.name.startswith(FADING) else {}
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
        pooled, logits = text_outputs(case, model, ids, mask)
        if pooled is not None:
            stages["pool"] = spread(pooled)
        return {"config": case.config, "lengths": LENGTHS, "pooling": case.pooling, "head": case.head, "stages": stages, "logits": logits.double().flatten().tolist()}
    seen = {}
    model.get_submodule(case.head).register_forward_hook(lambda _, inputs, output: seen.update(features=spread(inputs[0]), logits=output))
    model(pixels(case.size, case.size))
    # In order of the names: the order of the modules is another one in each library.
    around = {"variances": [variances[name] for name in sorted(variances)]} if variances else {}
    return {"size": case.size, "head": case.head, **around, "stages": stages | {"pool": stages.get("pool", seen["features"])}, "logits": seen["logits"].double().flatten().tolist()}


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
        yield name, "timm", lambda name=name: timm.create_model(TIMM_VITS[name]), "head"
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
    for name in RESNETS:
        yield name, "hugging_face", lambda name=name: transformers_resnet(name), "classifier.1"
    for name in (f"efficientnet_b{n}" for n in range(8)):
        yield name, "timm", lambda name=name: timm.create_model(name), "classifier"
    for name in CONVNEXTS:
        yield name, "timm", lambda name=name: timm.create_model(name), "head.fc"
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
    (GOLDEN / "gated.json").write_text(json.dumps({case.library: values(case) for case in gated_cases()}, separators=(",", ":")) + "\n")
    for case in [*image_cases(), *text_cases()]:
        if len(sys.argv) > 1 and not any(case.name.startswith(wanted) for wanted in sys.argv[1:]):
            continue
        found = values(case)
        (folder / f"{case.name}.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
        largest = max(abs(value) for stage in found["stages"].values() for value in stage[1:])
        print(case.name, len(found["stages"]), "stages, largest value", f"{largest:.3g}", "logits", [round(x, 3) for x in found["logits"]][:5])
    (GOLDEN / "shapes.json").write_text(json.dumps(shapes(), indent=0, sort_keys=True) + "\n")
    (GOLDEN / "published.json").write_text(json.dumps(published(), indent=1) + "\n")


if __name__ == "__main__":
    main()
