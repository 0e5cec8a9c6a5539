using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>A test that makes network namespaces, for which it must be root, and runs other people's programs in them.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RequiresNamespacesAttribute : FactAttribute
{
    private static readonly (string Program, string Package)[] Needed =
    [
        ("ip", "iproute2"), ("iptables", "iptables"), ("nsenter", "util-linux"), ("nginx", "nginx-light"), ("redis-server", "redis-server"),
        ("redis-cli", "redis-tools"), ("tshark", "tshark"), ("curl", "curl"), ("python3", "python3"),
    ];

    public RequiresNamespacesAttribute()
    {
        if (WhySkip() is { } reason)
        {
            Skip = reason;
        }
    }

    public static string? WhySkip() => Environment.UserName == "root" || Environment.GetEnvironmentVariable("CI") == "true"
        ? Needed.Select(needed => Programs.WhySkip(needed.Program, needed.Package, [])).FirstOrDefault(reason => reason is not null)
        : "network namespaces need root";
}
