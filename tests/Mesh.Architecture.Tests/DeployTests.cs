using Mesh.Testing;
using YamlDotNet.RepresentationModel;

namespace Mesh.Architecture;

/// <summary>The manifests under <c>deploy/</c> say what the Kubernetes API understands, and what Istio's ztunnel chart says.</summary>
public sealed class DeployTests
{
    private const string Manifest = "deploy/ztunnel/ztunnel.yaml";

    // The fields of the Kubernetes API objects (v1, apps/v1, rbac.authorization.k8s.io/v1), and the type of each; "" is a plain value, "*" any mapping.
    private static readonly Dictionary<string, Dictionary<string, string>> Types = Parse("""
        ServiceAccount: apiVersion kind metadata:ObjectMeta secrets imagePullSecrets automountServiceAccountToken
        Role: apiVersion kind metadata:ObjectMeta rules:PolicyRule
        PolicyRule: apiGroups nonResourceURLs resourceNames resources verbs
        RoleBinding: apiVersion kind metadata:ObjectMeta roleRef:RoleRef subjects:Subject
        RoleRef: apiGroup kind name
        Subject: apiGroup kind name namespace
        DaemonSet: apiVersion kind metadata:ObjectMeta spec:DaemonSetSpec
        ObjectMeta: name generateName namespace labels:* annotations:* finalizers ownerReferences
        DaemonSetSpec: minReadySeconds revisionHistoryLimit selector:LabelSelector template:PodTemplateSpec updateStrategy:DaemonSetUpdateStrategy
        LabelSelector: matchLabels:* matchExpressions
        DaemonSetUpdateStrategy: type rollingUpdate:RollingUpdateDaemonSet
        RollingUpdateDaemonSet: maxSurge maxUnavailable
        PodTemplateSpec: metadata:ObjectMeta spec:PodSpec
        PodSpec: activeDeadlineSeconds affinity:* automountServiceAccountToken containers:Container dnsConfig:* dnsPolicy enableServiceLinks hostIPC hostNetwork hostPID hostUsers hostname imagePullSecrets initContainers:Container nodeName nodeSelector:* os:* priorityClassName restartPolicy runtimeClassName schedulerName securityContext:* serviceAccountName shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations:Toleration topologySpreadConstraints volumes:Volume
        Toleration: effect key operator tolerationSeconds value
        Container: args command env:EnvVar envFrom image imagePullPolicy lifecycle:* livenessProbe:Probe name ports:ContainerPort readinessProbe:Probe resources:ResourceRequirements restartPolicy securityContext:SecurityContext startupProbe:Probe stdin terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts:VolumeMount workingDir
        ContainerPort: containerPort hostIP hostPort name protocol
        ResourceRequirements: limits:* requests:* claims
        SecurityContext: allowPrivilegeEscalation appArmorProfile:* capabilities:Capabilities privileged procMount readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser seLinuxOptions:* seccompProfile:* windowsOptions:*
        Capabilities: add drop
        Probe: exec:* failureThreshold grpc:* httpGet:HTTPGetAction initialDelaySeconds periodSeconds successThreshold tcpSocket:* terminationGracePeriodSeconds timeoutSeconds
        HTTPGetAction: host httpHeaders path port scheme
        EnvVar: name value valueFrom:EnvVarSource
        EnvVarSource: configMapKeyRef:* fieldRef:ObjectFieldSelector resourceFieldRef:* secretKeyRef:*
        ObjectFieldSelector: apiVersion fieldPath
        VolumeMount: mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr
        Volume: name configMap:ConfigMapVolumeSource csi:* downwardAPI:* emptyDir:EmptyDirVolumeSource ephemeral:* hostPath:HostPathVolumeSource image:* persistentVolumeClaim:* projected:ProjectedVolumeSource secret:SecretVolumeSource
        ConfigMapVolumeSource: defaultMode items name optional
        EmptyDirVolumeSource: medium sizeLimit
        HostPathVolumeSource: path type
        ProjectedVolumeSource: defaultMode sources:VolumeProjection
        VolumeProjection: clusterTrustBundle:* configMap:* downwardAPI:* secret:* serviceAccountToken:ServiceAccountTokenProjection
        ServiceAccountTokenProjection: audience expirationSeconds path
        SecretVolumeSource: defaultMode items optional secretName
        """);

    private static readonly YamlMappingNode[] Objects = Read();

    public static TheoryData<string> Kinds => [.. Objects.Select(one => Text(one, "kind")!)];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void An_object_has_no_field_that_kubernetes_does_not_know(string kind)
    {
        var unknown = new List<string>();
        Check(Objects.Single(one => Text(one, "kind") == kind), kind, kind, unknown);
        Assert.Empty(unknown);
    }

    [Fact]
    public void The_daemon_set_matches_istios_chart()
    {
        var spec = At(Objects.Single(one => Text(one, "kind") == "DaemonSet"), "spec");
        Assert.Equal(("1", "0"), (Text(At(spec, "updateStrategy", "rollingUpdate"), "maxSurge"), Text(At(spec, "updateStrategy", "rollingUpdate"), "maxUnavailable")));
        var pod = At(spec, "template", "spec");
        Assert.Equal("30", Text(pod, "terminationGracePeriodSeconds"));
        var container = (YamlMappingNode)((YamlSequenceNode)pod["containers"]).Single();
        Assert.Equal("istio-proxy", Text(container, "name"));
        Assert.Equal(["proxy", "ztunnel"], Values(container["args"]));
        Assert.Equal("15020", Text((YamlMappingNode)((YamlSequenceNode)container["ports"]).Single(), "containerPort"));
        Assert.Equal(("15021", "/healthz/ready"), (Text(At(container, "readinessProbe", "httpGet"), "port"), Text(At(container, "readinessProbe", "httpGet"), "path")));
        Assert.Equal(["NET_ADMIN", "SYS_ADMIN", "NET_RAW"], Values(At(container, "securityContext", "capabilities")["add"]));
        Assert.Equal(["ALL"], Values(At(container, "securityContext", "capabilities")["drop"]));
        Assert.Equal("true", Text(At(container, "securityContext"), "readOnlyRootFilesystem"));
        var mounts = ((YamlSequenceNode)container["volumeMounts"]).Cast<YamlMappingNode>().ToDictionary(mount => Text(mount, "mountPath")!, mount => Text(mount, "name")!);
        Assert.Superset(new HashSet<string> { "/var/run/secrets/istio", "/var/run/secrets/tokens", "/var/run/ztunnel", "/tmp" }, mounts.Keys.ToHashSet());

        // Every mount has its volume.
        Assert.Equal(mounts.Values.Order(), ((YamlSequenceNode)pod["volumes"]).Cast<YamlMappingNode>().Select(volume => Text(volume, "name")).Order());
    }

    [Fact]
    public void The_container_file_publishes_one_self_contained_file()
    {
        var file = File.ReadAllText(Repository.PathOf("deploy", "ztunnel", "Containerfile"));
        Assert.Contains("--self-contained", file, StringComparison.Ordinal);
        Assert.Contains("PublishSingleFile=true", file, StringComparison.Ordinal);
        Assert.Contains("CMD [\"proxy\", \"ztunnel\"]", file, StringComparison.Ordinal);
    }

    private static void Check(YamlMappingNode node, string type, string path, List<string> unknown)
    {
        foreach (var (key, value) in node.Children)
        {
            var name = ((YamlScalarNode)key).Value!;
            if (!Types[type].TryGetValue(name, out var valueType))
            {
                unknown.Add($"{path}.{name}");
                continue;
            }

            if (valueType is "" or "*")
            {
                continue;
            }

            foreach (var item in value is YamlSequenceNode sequence ? sequence.Children : [value])
            {
                Check((YamlMappingNode)item, valueType, $"{path}.{name}", unknown);
            }
        }
    }

    private static YamlMappingNode[] Read()
    {
        var stream = new YamlStream();
        using var reader = File.OpenText(Repository.PathOf(Manifest.Split('/')));
        stream.Load(reader);
        return [.. stream.Documents.Select(document => (YamlMappingNode)document.RootNode)];
    }

    private static YamlMappingNode At(YamlMappingNode node, params string[] path) => path.Aggregate(node, (one, name) => (YamlMappingNode)one[name]);

    private static string? Text(YamlMappingNode node, string name) => node.Children.TryGetValue(name, out var value) ? ((YamlScalarNode)value).Value : null;

    private static IEnumerable<string?> Values(YamlNode list) => ((YamlSequenceNode)list).Children.Select(item => ((YamlScalarNode)item).Value);

    private static Dictionary<string, Dictionary<string, string>> Parse(string table) => table.Split('\n').ToDictionary(
        line => line[..line.IndexOf(':', StringComparison.Ordinal)],
        line => line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(field => field.Split(':')).ToDictionary(field => field[0], field => field.ElementAtOrDefault(1) ?? ""));
}
