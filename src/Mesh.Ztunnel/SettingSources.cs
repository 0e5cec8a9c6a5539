using System.Collections;
using Microsoft.Extensions.Configuration;

namespace Mesh.Ztunnel;

/// <summary>Where settings come from, each source before the next: the mesh's file, PROXY_CONFIG, appsettings.json, the environment, the command line.</summary>
internal static class SettingSources
{
    private const string ProxyConfigName = "PROXY_CONFIG";

    /// <summary>Reads all sources.</summary>
    /// <param name="args">The command line behind the command: <c>--NAME value</c> or <c>--NAME=value</c>; what does not begin so is passed over, as in Istio's ztunnel.</param>
    /// <param name="errors">What is wrong; empty when nothing is.</param>
    public static Dictionary<string, string> Read(IReadOnlyList<string> args, List<string> errors)
    {
        var environment = Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().ToDictionary(entry => (string)entry.Key, entry => (string?)entry.Value ?? "", StringComparer.Ordinal);
        var settings = new Dictionary<string, string>(StringComparer.Ordinal);
        if (File.Exists(ProxyConfig.MeshFile))
        {
            Take(ProxyConfig.MeshFile, () => ProxyConfig.Read(File.ReadAllText(ProxyConfig.MeshFile), isMeshConfig: true));
        }

        if (environment.TryGetValue(ProxyConfigName, out var proxyConfig))
        {
            Take(ProxyConfigName, () => ProxyConfig.Read(proxyConfig, isMeshConfig: false));
        }

        Take("appsettings.json", ReadFile);
        Take("the environment", () => environment);
        Take("the command line", () => ReadCommandLine(args, errors));
        return settings;

        void Take(string source, Func<IReadOnlyDictionary<string, string>> read)
        {
            try
            {
                foreach (var (name, value) in read())
                {
                    settings[name] = value;
                }
            }
            catch (Exception e) when (e is FormatException or IOException or UnauthorizedAccessException or InvalidDataException)
            {
                errors.Add($"{source} cannot be read: {(e.InnerException is FormatException inner ? inner : e).Message}");
            }
        }
    }

    private static Dictionary<string, string> ReadFile() => new ConfigurationBuilder()
        .SetBasePath(Directory.GetCurrentDirectory())
        .AddJsonFile("appsettings.json", optional: true, reloadOnChange: false)
        .Build()
        .AsEnumerable()
        .Where(pair => pair.Value is not null)
        .ToDictionary(pair => pair.Key, pair => pair.Value!, StringComparer.Ordinal);

    private static Dictionary<string, string> ReadCommandLine(IReadOnlyList<string> args, List<string> errors)
    {
        var settings = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < args.Count; i++)
        {
            if (!args[i].StartsWith("--", StringComparison.Ordinal))
            {
                continue;
            }

            var equals = args[i].IndexOf('=', StringComparison.Ordinal);
            var name = equals < 0 ? args[i][2..] : args[i][2..equals];
            if (!ZtunnelEnvironment.IsKnown(name))
            {
                errors.Add($"the command line sets '{name}', which is no setting; --help lists them");
            }
            else if (equals >= 0)
            {
                settings[name] = args[i][(equals + 1)..];
            }
            else if (i + 1 < args.Count)
            {
                settings[name] = args[++i];
            }
            else
            {
                errors.Add($"the command line names '{name}' without a value");
            }
        }

        return settings;
    }
}
